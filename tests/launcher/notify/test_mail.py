"""Mail by Slurm: of a run's begin, and of its end, once each, however often it is tried."""

from pathlib import Path

import pytest

from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import SlurmRun

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("sites")]


def test_one_mail_comes_at_the_begin_and_one_when_the_run_has_ended(site: BringUp, tmp_path: Path) -> None:
    program, mails = tmp_path / "mail", tmp_path / "mails"
    program.write_text(f'#!/bin/sh\necho "$@" >> {mails}\n')
    program.chmod(0o755)
    cluster = site("no-accounting", f"MailProg={program}")
    options = {"mem": "300M", "mail_type": "ALL", "mail_user": "me@example.org"}
    toy = SlurmRun(cluster, tmp_path, "DyingSetup", rows=8, shards=1, options=options, retry={"attempts": 2})
    toy.submit()
    assert toy.end()["state"] == "failed"
    assert toy.run.submission_numbers() == [1, 2]
    toy.wait(lambda: mails.exists() and "finalize" in mails.read_text())
    toy.wait(lambda: not toy.queued())
    told = mails.read_text().splitlines()
    assert len(told) == 2, told
    assert ".1 Began" in told[0]
    assert ".2-finalize Ended" in told[1]

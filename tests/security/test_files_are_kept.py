"""What a run writes can be written by nobody else, and holds none of the environment's secrets."""

import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.launcher_runs import command, environment, run_of, write_config

SECRETS = {
    "HF_TOKEN": "hf-s3cret-1",
    "AWS_SECRET_ACCESS_KEY": "aws-s3cret-2",
    "MY_PASSWORD": "pw-s3cret-3",
    "https_proxy": "http://user:s3cret-4@proxy.invalid:3128",
    "DATABASE_URL": "postgres://user:s3cret-5@db.invalid/x",
}


@pytest.mark.parametrize(("umask", "group"), [(0o000, True), (0o002, True), (0o022, False), (0o077, False)])
def test_no_file_of_a_run_is_for_everybody_to_write_and_none_tells_a_secret(
    tmp_path: Path, umask: int, group: bool
) -> None:
    config = write_config(tmp_path, 16, shards=2)
    done = subprocess.run(
        command("run", config),
        cwd=tmp_path,
        env={**environment(), **SECRETS},
        umask=umask,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [run_of(config).path, *run_of(config).path.rglob("*")]
    assert len(found) > 8
    for path in found:
        mode = path.stat().st_mode
        assert not mode & stat.S_IWOTH, f"{path}: {stat.filemode(mode)}"
        assert bool(mode & stat.S_IWGRP) == group, f"{path}: {stat.filemode(mode)}"
        if path.is_file():
            content = path.read_bytes()
            assert not [value for value in SECRETS.values() if value.encode() in content], path
            assert b"s3cret" not in content, path

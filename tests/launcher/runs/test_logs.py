"""Logs: what ``launcher logs -f`` reads of a shard that an attempt is still at."""

from pathlib import Path
from threading import Thread

from jobs.storage.journal import Journal
from launcher.runs.logs import read_log
from tests.support.builders import build_run
from tests.support.launcher_runs import wait_until


def test_the_last_words_of_an_attempt_are_followed_after_the_shard_is_done(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    run.log(0).write_bytes(b"shard 0, attempt 1\n")
    seen: list[bytes] = []
    reader = Thread(target=lambda: seen.extend(read_log(run, 0, follow=True)))
    with Journal(run.journal(0)):
        reader.start()
        wait_until(lambda: seen)
        reader.join(0.5)
        assert reader.is_alive()
        with run.log(0).open("ab") as log:
            log.write(b"shard 0 is done\n")
    reader.join()
    assert b"".join(seen) == b"shard 0, attempt 1\nshard 0 is done\n"

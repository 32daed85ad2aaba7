"""Download against a server that fails in every way, alone and through `launcher run`, over kills."""

import asyncio
import contextlib
import csv
import gc
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.download import Download
from jobs.errors import InputError
from jobs.http.checksum import Checksum
from jobs.http.file_names import checked_name, name_of_url
from jobs.http.part_file import PartFile
from jobs.job import Context
from launcher import results
from tests.support.examples import THOROUGH
from tests.support.failing_server import Served, body, serving, sha256
from tests.support.launcher_runs import launcher, run_of, start, wait_until, write_config
from tests.support.task_runs import await_end

# A pool worker keeps its connections as long as it lives; here, they are collected with the Job.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*[Ss]ocket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Here, where these warnings are ignored, and not in whatever test comes later."""
    yield
    gc.collect()


class Lengths(Download):
    """What the memory of a Job that goes on with the files is for."""

    async def load(self, sample: Any) -> Any:
        content = np.frombuffer((await super().load(sample))["content"], np.uint8)
        return {"sum": int(content.sum()), "length": len(content)}

    def process(self, batch: Any) -> dict[str, Any]:
        return dict(batch)


class Row(dict[str, Any]):
    """A manifest row with an id."""

    @property
    def id(self) -> str:
        return str(self["id"])


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


def load_all(rows: list[dict[str, Any]], job: type[Download] = Download, **params: Any) -> list[Any]:
    """What each row gives, or raises, when all are loaded at once."""
    made = job(**params)
    made.setup_worker(Context("cpu", 0, None, Path("unused"), 0))

    async def gather() -> list[Any]:
        return await asyncio.gather(*(made.load(Row(row)) for row in rows), return_exceptions=True)  # type: ignore[arg-type]

    return asyncio.run(gather())


def load(server: Served, folder: Path, target: str, **params: Any) -> dict[str, Any]:
    """What one url gives; raises what it raises."""
    (found,) = load_all([{"url": server.base + target, **params.pop("row", {})}], folder=folder, **params)
    if isinstance(found, BaseException):
        raise found
    return dict(found)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def is_right(found: dict[str, Any], target: str) -> bool:
    content = Path(found["path"]).read_bytes()
    told = (found["bytes"], found["sha256"])
    return content == body(target) and told == (len(content), hashlib.sha256(content).hexdigest())


def test_without_locks_each_download_has_a_file_of_its_own(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Lustre without -o flock: it would wait for ever for whoever has the lock."""
    monkeypatch.setattr("jobs.http.part_file.try_lock", lambda descriptor: None)
    targets = ["/ok/large?size=3000000", "/ok/large?size=3000000", "/flaky/unlocked?times=2", "/missing/unlocked"]
    found = load_all([{"url": server.base + target} for target in targets], folder=tmp_path, retries=2)
    assert [is_right(one, target) for one, target in zip(found[:3], targets, strict=False)] == [True] * 3
    assert isinstance(found[3], Exception)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    "target",
    [
        "/ok/a",
        "/ok/empty?size=0",
        "/ok/large?size=3000000",
        "/redirect/a",
        "/flaky/a?times=2",
        "/busy/a",
        "/rate/a",
        "/drop/a",
    ],
)
def test_a_file_comes_whole_however_the_server_falters(server: Served, tmp_path: Path, target: str) -> None:
    found = load(server, tmp_path, target)
    assert is_right(found, target.replace("/redirect/", "/ok/"))
    assert found["http_status"] == 200
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/missing/a", "HTTP 404 Not Found"),
        ("/gone/a", "HTTP 410 Gone"),
        ("/forbidden/a", "HTTP 403 Forbidden"),
        ("/loop/a", "redirected more than 10 times"),
        ("/ok/large?size=20001", r"larger than max_bytes \(20000\): 20001 bytes"),
        ("/endless/a", r"larger than max_bytes \(20000\): \d+ bytes or more"),
    ],
)
def test_what_no_retry_can_mend_fails_at_once_and_leaves_nothing(
    server: Served, tmp_path: Path, target: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        load(server, tmp_path, target, max_bytes=20_000)
    assert files(tmp_path) == []
    assert target.startswith("/loop") or server.requests()["counts"][target] == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/x", "the url's scheme, ftp, is not supported; valid: http://host/path or https://host/path"),
        ("file:///etc/passwd", "the url's scheme, file, is not supported"),
        ("s3://bucket/key", "the url's scheme, s3, is not supported"),
        ("no url", "the url has no scheme"),
        ("www.example.com/a.jpg", "the url has no scheme"),
        ("127.0.0.1:8/b.jpg", "the url has no scheme"),
        ("//example.com/a", "the url has no scheme"),
        ("http://", "the url has no host"),
        ("http:///x", "the url has no host"),
        ("http://127.0.0.1:99999/a", "the url's port, 99999, is not valid; valid: 1 to 65535"),
        ("http://127.0.0.1:0/a", "the url's port, 0, is not valid"),
        ("http://127.0.0.1:x/a", "Invalid port: 'x'; valid: http://host/path"),
        ("http://[::1/a", "Invalid port"),
        ("http://a b.invalid/", "the url's host cannot be the name of one"),
        (f"http://{'a' * 64}.invalid/", "the url's host cannot be the name of one"),
        ("http://☃.invalid/", "Invalid IDNA hostname"),
        ("http://127.0.0.1/a\nb", "non-printable"),
    ],
)
def test_a_url_that_is_none_fails_at_once_and_says_what_is_wrong_with_it(
    tmp_path: Path, url: str, message: str
) -> None:
    (found,) = load_all([{"url": url}], folder=tmp_path)
    assert type(found).__name__ == "DownloadError"
    assert message in str(found)
    assert (url if url.isprintable() else repr(url)) in str(found)


def test_a_redirection_to_a_url_that_is_none_says_so(server: Served, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"/elsewhere/a\?\.\.\.: the url's port, 99999, is not valid"):
        load(server, tmp_path, "/elsewhere/a?to=http://127.0.0.1:99999/")


@pytest.mark.parametrize("target", [" /ok/blanks ", "/ok/in between"])
def test_blanks_in_a_url_do_no_harm(server: Served, tmp_path: Path, target: str) -> None:
    url = f"{' ' if target[0] == ' ' else ''}{server.base}{target.lstrip()}"
    (found,) = load_all([{"url": url}], folder=tmp_path)
    assert found["http_status"] == 200, found


def test_messages_name_the_url_without_what_may_be_secret(server: Served, tmp_path: Path) -> None:
    url = server.base.replace("//", "//user:pa@ss@") + "/missing/secret?signature=abc"
    (found,) = load_all([{"url": url}], folder=tmp_path)
    assert str(found) == f"{server.base}/missing/secret?...: HTTP 404 Not Found"


@pytest.mark.parametrize("proxy", ["socks5://user:secret@127.0.0.1:1", "what://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_told_when_the_worker_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proxy: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(InputError, match=r"pip install socksio$|is not valid; valid: http://host:port") as caught:
        load_all([], folder=tmp_path)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert "httpx[" not in "".join(traceback.format_exception(caught.value))


def test_what_stays_broken_fails_after_the_retries_and_says_how_often(server: Served, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="HTTP 500 Internal Server Error; tried 3 times"):
        load(server, tmp_path, "/broken/a", retries=2)
    assert server.requests()["counts"]["/broken/a"] == 3


def test_nobody_listens_fails_after_the_retries(tmp_path: Path) -> None:
    (found,) = load_all([{"url": "http://127.0.0.1:9/x"}], folder=tmp_path, retries=1)
    assert "tried 2 times" in str(found)


@pytest.mark.parametrize("kind", ["busy", "date"])
def test_a_host_is_left_alone_for_as_long_as_it_asks(server: Served, tmp_path: Path, kind: str) -> None:
    target = f"/{kind}/patience?after=2"
    assert is_right(load(server, tmp_path, target), target)
    first, second = server.requests()["times"][target]
    assert second - first >= (2 if kind == "busy" else 1)  # a date has whole seconds


def test_while_a_host_wants_to_be_left_alone_nothing_else_is_asked_of_it(server: Served, tmp_path: Path) -> None:
    targets = ["/busy/quiet?after=1", *(f"/ok/quiet{row}" for row in range(20))]
    found = load_all([{"url": server.base + target} for target in targets], folder=tmp_path, per_host=1)
    assert all(map(is_right, found, targets))
    times = server.requests()["times"]
    (refused, _) = times[targets[0]]
    assert not any(refused < times[target][0] < refused + 1 for target in targets[1:])


def test_a_host_that_asks_for_longer_than_the_time_limit_is_not_waited_for(server: Served, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"503 Service Unavailable: the host asks for 3600 s, time_limit leaves 300 s"):
        load(server, tmp_path, "/busy/never?after=3600")


def test_one_urls_long_wait_is_not_its_hosts(server: Served, tmp_path: Path) -> None:
    """Its own sample fails at once, with the reason; the others have all of their time left after the little they wait."""
    targets = ["/busy/hours?after=7200", *(f"/ok/others{row}" for row in range(12))]
    rows = [{"url": server.base + target} for target in targets]
    refused, *found = load_all(rows, folder=tmp_path, per_host=1, time_limit=4.0)
    assert "503 Service Unavailable: the host asks for 7200 s, time_limit leaves" in str(refused)
    assert all(map(is_right, found, targets[1:]))


def test_the_time_limit_is_a_samples_own_not_that_of_its_queue(server: Served, tmp_path: Path) -> None:
    targets = [f"/ok/queue{row}?delay=0.6" for row in range(8)]
    rows = [{"url": server.base + target} for target in targets]
    found = load_all(rows, folder=tmp_path, per_host=1, time_limit=4.0, retries=0)
    assert all(map(is_right, found, targets))


@pytest.mark.parametrize("kind", ["etag", "total", "date", "start"])
def test_no_file_is_put_together_from_two_versions(server: Served, tmp_path: Path, kind: str) -> None:
    with pytest.raises(Exception, match="HTTP 206: not the rest of what has come, or of another version of it; tried"):
        load(server, tmp_path, f"/other/{kind}?size=1000", retries=1)
    assert [name for name in files(tmp_path) if ".part" not in name] == []


def test_a_stall_ends_and_the_rest_is_asked_for_alone(server: Served, tmp_path: Path) -> None:
    target = "/stall/a?size=200000"
    found = load(server, tmp_path, target, stall_timeout=2.0)
    assert is_right(found, target)
    assert found["http_status"] == 206
    assert server.requests()["ranges"][target] == ["bytes=100000-"]


def test_a_sample_may_take_no_longer_than_its_time_limit(server: Served, tmp_path: Path) -> None:
    with pytest.raises(
        Exception, match=r"time_limit \(4 s\), \d+ bytes have come; last: nothing came within stall_timeout"
    ):
        load(server, tmp_path, "/stall/b?size=100000&times=99", stall_timeout=1.0, time_limit=4.0)


def test_a_transfer_that_gets_further_each_time_is_not_given_up(server: Served, tmp_path: Path) -> None:
    target = "/truncate/often?size=100000&times=6&share=0.4"
    found = load(server, tmp_path, target, retries=1)
    assert is_right(found, target)
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in server.requests()["ranges"][target]]
    assert len(starts) == 6
    assert starts == sorted(starts)


@pytest.mark.parametrize("kind", ["norange", "changing"])
def test_a_server_that_sends_no_range_or_another_version_starts_over(server: Served, tmp_path: Path, kind: str) -> None:
    target = f"/{kind}/a?size=100000"
    found = load(server, tmp_path, target)
    version = 1 if kind == "changing" else 0
    assert Path(found["path"]).read_bytes() == bytes(byte ^ version for byte in body(target))
    assert server.requests()["ranges"][target] == ["bytes=50000-"]


def test_a_part_is_resumed_by_a_later_run_and_a_damaged_one_is_not(server: Served, tmp_path: Path) -> None:
    for number, damage in enumerate((False, True)):
        target = f"/truncate/later{number}?size=100000"
        with pytest.raises(Exception, match="tried 1 times"):
            load(server, tmp_path, target, retries=0)
        (part,) = tmp_path.rglob("*.part")
        if damage:
            part.write_bytes(bytes(part.stat().st_size))
        found = load(server, tmp_path, target, retries=0)
        assert is_right(found, target)
        assert found["http_status"] == (200 if damage else 206)
    assert len(files(tmp_path)) == 2


def test_a_file_that_is_there_is_kept_without_a_request(server: Served, tmp_path: Path) -> None:
    first = load(server, tmp_path, "/ok/kept")
    again = load(server, tmp_path, "/ok/kept")
    assert (first["http_status"], again["http_status"]) == (200, 0)
    assert {**again, "http_status": 200} == {**first, "http_status": 200}
    assert server.requests()["counts"]["/ok/kept"] == 1


def test_a_file_that_is_there_with_another_checksum_is_replaced(server: Served, tmp_path: Path) -> None:
    target = "/ok/replaced"
    path = Path(load(server, tmp_path, target)["path"])
    path.write_bytes(b"something else")
    found = load(server, tmp_path, target, checksum="sum", row={"sum": f"sha256:{sha256(target)}"})
    assert found["http_status"] == 200
    assert path.read_bytes() == body(target)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_checksum_holds_or_the_sample_fails_at_once(
    server: Served, tmp_path: Path, algorithm: str, bare: bool
) -> None:
    target = f"/ok/{algorithm}{bare}"
    digest = hashlib.new(algorithm, body(target)).hexdigest()
    text = digest.upper() if bare else f"{algorithm}:{digest}"
    wrong = text[:-1] + ("1" if text[-1] == "0" else "0")
    with pytest.raises(Exception, match=f"the 300 bytes that came do not match the {algorithm} checksum"):
        load(server, tmp_path, target, checksum="sum", row={"sum": wrong})
    assert files(tmp_path) == []
    assert is_right(load(server, tmp_path, target, checksum="sum", row={"sum": text}), target)


@pytest.mark.parametrize("text", ["sha256:abc", "crc32:12345678", "sha256:" + "g" * 64, "md5:" + "0" * 64, "1234"])
def test_a_checksum_that_is_none_fails_its_sample(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid; valid: md5, sha1, sha256, sha512"):
        Checksum.of(text)


@pytest.mark.parametrize("empty", [None, ""])
def test_a_row_without_a_checksum_is_not_checked(server: Served, tmp_path: Path, empty: str | None) -> None:
    assert is_right(load(server, tmp_path, "/ok/free", checksum="sum", row={"sum": empty}), "/ok/free")


def test_no_more_requests_at_a_time_than_a_host_may_get(tmp_path: Path) -> None:
    with serving() as server:
        rows = [{"url": f"{server.base}/ok/{row}?delay=0.01"} for row in range(120)]
        found = load_all(rows, folder=tmp_path, per_host=5, concurrency=50)
        assert all(isinstance(item, dict) for item in found)
        assert server.requests()["most"] == 5


def test_the_same_url_in_two_rows_is_one_file_of_which_both_tell(server: Served, tmp_path: Path) -> None:
    rows = [{"url": f"{server.base}/ok/twice?delay=0.3"}] * 4
    found = load_all(rows, folder=tmp_path)
    assert len({item["path"] for item in found}) == 1
    assert all(is_right(item, "/ok/twice?delay=0.3") for item in found)
    assert len(files(tmp_path)) == 1


def test_names_from_a_column_need_it_to_be_the_id(server: Served, tmp_path: Path) -> None:
    found = load(server, tmp_path, "/ok/n", name="file", row={"file": "a/b.bin", "id": "a/b.bin"})
    assert found["path"] == str(tmp_path / "a" / "b.bin")
    with pytest.raises(ValueError, match=r"column 'file' names files, so no two may be the same: make it data.id"):
        load(server, tmp_path, "/ok/n", name="file", row={"file": "a/b.bin", "id": "7"})


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "a/../../x", "a//b", "a/", "./a", ".", "", "a\0b", "a\nb", "x.part", "x.part.json", "n" * 201],
)
def test_a_name_that_leaves_the_folder_or_is_not_its_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"file name .* is not valid; valid: a relative path"):
        checked_name(name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_of_urls_are_safe_and_tell_urls_apart(one: str, other: str) -> None:
    first, second = (name_of_url(f"http://host/{text}") for text in (one, other))
    assert checked_name(first) == first
    assert (first == second) == (one == other)


def test_a_name_of_a_url_ends_as_the_url_does() -> None:
    assert name_of_url("https://host/photos/caf%C3%A9 1.jpg?size=2").endswith("-caf_1.jpg")


def test_a_part_that_another_is_at_is_left_to_it(tmp_path: Path) -> None:
    part = PartFile.open(tmp_path / "x", "http://host/x", None)
    assert part is not None
    assert PartFile.open(tmp_path / "x", "http://host/x", None) is None
    part.write(b"all")
    part.finish()
    part.close()
    assert (tmp_path / "x").read_bytes() == b"all"
    assert files(tmp_path) == ["x"]


def test_a_header_may_use_the_environment(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert is_right(load(server, tmp_path, "/private/a", headers={"Authorization": "Bearer $TOKEN"}), "/private/a")
    with pytest.raises(Exception, match="HTTP 403 Forbidden"):
        load(server, tmp_path, "/private/b", headers={"Authorization": "Bearer $NOTHING"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"folder": None}, "folder: is required: where the files go"),
        ({"concurrency": 0}, "concurrency: 0 is not valid; valid: a number of requests"),
        ({"per_host": 0}, "per_host: 0 is not valid"),
        ({"retries": -1}, "retries: -1 is not valid; valid: a number from 0"),
        ({"stall_timeout": 0}, "stall_timeout: 0 is not valid; valid: seconds over 0"),
        ({"time_limit": -5}, "time_limit: -5 is not valid"),
        ({"max_bytes": 1.5}, "max_bytes: 1.5 is not valid; valid: a number of bytes"),
    ],
)
def test_parameters_that_cannot_work_are_refused(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Download(**{"folder": tmp_path, **params})


# --- whole runs

ROWS = 5000 if THOROUGH else 1000
# What every hundredth row meets, and the failure that must be told of it; None: the file comes.
MEETS = {
    1: ("missing", "HTTP 404 Not Found"),
    2: ("gone", "HTTP 410 Gone"),
    3: ("broken", "HTTP 500 Internal Server Error; tried 2 times"),
    4: ("flaky", None),
    5: ("busy", None),
    6: ("drop", None),
    7: ("truncate", None),
    8: ("redirect", None),
    9: ("norange", None),
    10: ("rate", None),
    11: ("wrong", "the 300 bytes that came do not match the sha256 checksum"),
}


def write_urls(path: Path, server: Served) -> list[str]:
    """The manifest of the run; returns the targets of its rows."""
    targets = [f"/{MEETS.get(row % 100, ('ok', None))[0]}/{row}" for row in range(ROWS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["url", "sum"])
        for target in targets:
            real = target.replace("/redirect/", "/ok/").replace("/wrong/", "/other/")
            writer.writerow([server.base + target, f"sha256:{sha256(real)}"])
    return targets


def config_of(at: Path, *, shards: int = 4, job: str = "jobs.download:Download", **params: Any) -> Path:
    params = {"checksum": "sum", "retries": 1, **params}
    data, node = {"manifest": "urls.csv"}, {"workers": 1, "batch_size": ROWS // 8, "max_failed_samples": 0.05}
    return write_config(at, shards=shards, job=job, params=params, data=data, node=node)


def kill_all(pid: int) -> None:
    """kill -9 of a process and all below it, at once."""
    root = psutil.Process(pid)
    tree = [root, *root.children(recursive=True)]
    for process in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    await_end(tree)


def test_thousands_of_files_over_a_kill_each_right_or_failed_with_its_reason(server: Served, tmp_path: Path) -> None:
    targets = write_urls(tmp_path / "urls.csv", server)
    config = config_of(tmp_path, folder="files")
    first = start(tmp_path, "run", config)
    wait_until(lambda: len(files(tmp_path / "files")) > ROWS // 3)
    kill_all(first.pid)
    first.communicate()
    before = {
        path: (tmp_path / "files" / path).stat().st_ino for path in files(tmp_path / "files") if "part" not in path
    }
    assert len(before) < ROWS
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout
    check_files(tmp_path, run_of(config).result, targets)
    kept = {path: (tmp_path / "files" / path).stat().st_ino for path in before}
    assert kept == before
    counts = server.requests()["counts"]
    asked_again = [target for target in targets if target.startswith("/ok/") and counts[target] > 1]
    assert len(asked_again) <= 2 * 32 + len([target for target in targets if "/redirect/" in target])


def check_files(folder: Path, result: Path, targets: list[str]) -> None:
    """Every row of the result and every file is what its url must give."""
    with results.open(result) as found:
        status, paths, sums, sizes = found.status, found["path"], found["sha256"], found["bytes"]
        errors = dict(zip(found.errors["row"], found.errors["message"], strict=True))
        assert len(status) == ROWS
        for row, target in enumerate(targets):
            expected = MEETS.get(row % 100, ("ok", None))[1]
            if expected:
                assert status[row] == 2
                assert expected in errors.pop(row)
                continue
            real = target.replace("/redirect/", "/ok/")
            assert status[row] == 1, errors.get(row)
            assert (folder / paths[row]).read_bytes() == body(real)
            assert (sums[row], sizes[row]) == (sha256(real), 300)
        assert errors == {}
        expected_files = {str(Path(paths[row]).relative_to("files")) for row in range(ROWS) if status[row] == 1}
    assert set(files(folder / "files")) == expected_files


def test_a_large_file_goes_on_where_a_kill_of_the_run_left_it(server: Served, tmp_path: Path) -> None:
    target = f"/slow/large?size={24 << 20}"
    (tmp_path / "urls.csv").write_text(f"url,sum\n{server.base}{target},{sha256(target)}\n")
    config = config_of(tmp_path, shards=1, folder="files")
    first = start(tmp_path, "run", config)
    wait_until(lambda: list((tmp_path / "files").rglob("*.part.json")))
    kill_all(first.pid)
    first.communicate()
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout
    with results.open(run_of(config).result) as found:
        assert hashlib.sha256((tmp_path / found["path"][0]).read_bytes()).hexdigest() == sha256(target)
        assert found["http_status"][0] == 206
    (asked,) = server.requests()["ranges"][target]
    assert int(asked.removeprefix("bytes=").rstrip("-")) >= 8 << 20
    assert len(files(tmp_path / "files")) == 1


@pytest.mark.thorough
def test_a_subclass_goes_on_with_the_bytes_in_memory(server: Served, tmp_path: Path) -> None:
    targets = [f"/{'missing' if row == 7 else 'ok'}/m{row}?size={row}" for row in range(64)]
    (tmp_path / "urls.csv").write_text("url\n" + "".join(f"{server.base}{target}\n" for target in targets))
    config = config_of(tmp_path, shards=1, job="tests.jobs.test_download:Lengths", checksum=None)
    done = launcher(tmp_path, "run", config, "--set", "node.workers=0")
    assert done.returncode == 0, done.stdout
    with results.open(run_of(config).result) as found:
        assert [int(value) for value in found["length"]] == [0 if row == 7 else row for row in range(64)]
        assert [int(value) for value in found["sum"]] == [0 if "missing" in t else sum(body(t)) for t in targets]
        assert list(found.errors["row"]) == [7]

"""Fuzzing: what users, schedulers, servers and disks may hand to the launcher, in forms that nobody thought of.

``python -m tests.support.fuzzing FOLDER COUNT SEED [TARGET]`` tries COUNT inputs in all, and prints how many of each target
were refused with a message. It fails at the first that ends otherwise: by another exception, after more than 2 s, with more
than 200 MB; that input is then in FOLDER/input.
"""

import asyncio
import contextlib
import gzip
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import LauncherError
from jobs.gather.survey import survey_results
from jobs.gather.verify import verify
from jobs.http.fetcher import DownloadError, Fetcher, FetchLimits
from jobs.http.part_file import PartialDownload
from jobs.storage import checked_lines
from jobs.storage.claims import ClaimFolder, holdings
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.config.config import load_config
from launcher.manifest.manifest import build_manifest
from launcher.slurm import parsers, scheduler
from launcher.slurm.accounting import allocation, by_element, has_ended, judge, was_taken
from launcher.slurm.template import Template
from launcher.status.progress import status_lines
from launcher.status.status import StatusReader
from tests.support.builders import build_run
from tests.support.instant_executor import command
from tests.support.mutation import VALUES, mutated, mutated_json

SECONDS = 2.0
BYTES = 200 << 20


class TooSlow(Exception):
    """An input took more than SECONDS."""


@dataclass(frozen=True)
class Target:
    """What is tried: ``make`` gives an input, ``take`` has it read. ``forks``: in a process of its own, as it may crash."""

    name: str
    weight: int
    make: Callable[[random.Random], bytes]
    take: Callable[[bytes], None]
    forks: bool = False


def of(*examples: str | bytes, make: Callable[[random.Random, Sequence[bytes]], bytes] = mutated) -> Callable[[random.Random], bytes]:
    known = [example.encode() if isinstance(example, str) else example for example in examples]
    return lambda dice: make(dice, known)


# --- what is written by users

_CONFIG = """\
# a comment
name: toy
runs: runs
job: {class: "tests.example_jobs.toy_jobs:Toy", params: {delay: 0.5, bad: {"3": raise}}}
data:
  manifest: {train: [a.csv, "b*.jsonl"], test: c.parquet}
  id: id
  shards: 4
node: {processes: 2, workers: 1, devices: [cpu, "cuda:0"], batch_size: 8, sample_timeout: 1.5, max_failed_samples: 0.01}
executor: slurm
slurm:
  template: cpu
  mem: 4G
  time: 1-00:00:00
  account: 0012
  gpus_per_task: a100:2
retry: {attempts: 3, max_memory: 64G}
output: {path: "x-{manifest}.h5"}
"""
_TEMPLATE = """\
#!/bin/bash
#SBATCH -p long --mem=4G -n1
#SBATCH --gres=gpu:2,disk:10G --time="1:00:00"
module load python
# launcher: command
echo done
"""


def config_targets(folder: Path) -> Iterator[Target]:
    path = folder / "config.yaml"

    def read_config(data: bytes) -> None:
        path.write_bytes(data)
        load_config(path).to_mapping()

    def read_template(data: bytes) -> None:
        Template(data.decode(errors="surrogateescape"), "site.sbatch").render({"mem": "1G", "array": None}, "true")

    yield Target("config", 5, of(_CONFIG, "name: a\njob: {class: b:C}\ndata: {manifest: a.csv}\n"), read_config)
    yield Target("template", 30, of(_TEMPLATE), read_template)


def manifest_targets(folder: Path) -> Iterator[Target]:
    table = pa.table({"id": ["a", "b", "c"], "x": [1, 2, 3], "y": [1.5, None, 3.0], "z": [[1], [], None]})
    parquet, arrow = folder / "good.parquet", folder / "good.arrow"
    pq.write_table(table, parquet)
    with pa.ipc.new_file(str(arrow), table.schema) as writer:
        writer.write_table(table)
    csv = 'id,x,y\na,1,"q ""r"""\nb,2,\n"c\nd",3.50,007\n'
    rows = '{"id": "a", "x": 1, "y": [1, 2]}\n{"id": "b", "x": 2.5, "z": {"k": null}}\n'
    examples: dict[str, list[str | bytes]] = {
        "csv": [csv, csv.replace(",", ";")], "tsv": [csv.replace(",", "\t")], "jsonl": [rows], "ndjson": [rows],
        "txt": ["one line\nanother\n\nlast"], "csv.gz": [gzip.compress(csv.encode())],
        "parquet": [parquet.read_bytes()], "arrow": [arrow.read_bytes()],
    }  # fmt: skip

    def reader(name: str) -> Callable[[bytes], None]:
        path, out = folder / f"data.{name}", folder / "manifest.arrow"

        def read(data: bytes) -> None:
            path.write_bytes(data)
            build_manifest([str(path)], out, "id" if len(data) % 2 else None, None)

        return read

    for name, known in examples.items():
        # Arrow's own readers may crash with files that are damaged in the right places.
        yield Target(f"manifest.{name}", 2, of(*known), reader(name), forks=name in ("parquet", "arrow"))


# --- what schedulers and servers answer

_SACCT = """\
12_0|COMPLETED|0:0|n1||4G|01:00:00
12_0.batch|COMPLETED|0:0|n1|123456K||
12_1|CANCELLED by 1000|0:15|n[1-2]||4Gn|UNLIMITED
12_1.0|FAILED|1:0|n1|1.5G||
12_[2-7:2,9%4]|PENDING|0:0|None assigned||4Gc|1-00:00:00
13|NODE_FAIL|0:0|n3|0|500M|10:00
"""
_SQUEUE = "12|0-3|PENDING|Resources|run-ab12-1\n12|4|RUNNING|None|run-ab12-1\n13|N/A|PENDING|(Dependency)|x|y\n"
_SBATCH = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (QOSMaxSubmitJobPerUserLimit)\n"
_LIMITS = "MaxArraySize            = 1001\nMaxJobCount = 10000\nAccountingStorageType = accounting_storage/slurmdbd\n"


def slurm_targets(folder: Path) -> Iterator[Target]:
    def account(data: bytes) -> None:
        rows = list(parsers.read_accounting(data.decode(errors="replace")))
        for row in by_element(rows).values():
            judge(row, 0, began=bool(row.index), words="")
            allocation(row), was_taken(row), has_ended(row)

    def answered(data: bytes) -> Callable[..., str]:
        return lambda *command: data.decode(errors="replace")

    def queue(data: bytes) -> None:
        scheduler.ask = scheduler.run = answered(data)  # type: ignore[attr-defined]
        scheduler.queue()
        scheduler.find(["run-ab12-1", "run"])
        scheduler._read_limits()

    def submit(data: bytes) -> None:
        text = data.decode(errors="replace")
        parsers.said(text), parsers.read_job_id(text), parsers.read_submit_limit(text)
        parsers.is_passing(text), parsers.is_submit_limit(text), parsers.is_queue_full(text)

    yield Target("sacct", 40, of(_SACCT), account)
    yield Target("squeue, scontrol", 30, of(_SQUEUE, "12|run-ab12-1\n13|run\n", _LIMITS), queue)
    yield Target("sbatch, sacctmgr", 10, of(_SBATCH, "123;cluster\n", "123\n", "|10\n50|\n||\n"), submit)


_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\nhello",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    b"Date: Wed, 21 Oct 2015 08:28:00 GMT\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)


def http_targets(folder: Path) -> Iterator[Target]:
    loop = asyncio.new_event_loop()
    answer = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def ask(port: int) -> None:
        fetcher = Fetcher(FetchLimits(4, 0, 0.5, 1.0, 1 << 20), {})
        try:
            await fetcher.fetch(PartialDownload(f"http://127.0.0.1:{port}/x", None))
        except (DownloadError, ValueError) as refused:  # what fails this one sample
            raise LauncherError(str(refused)) from refused
        finally:
            await fetcher._client.aclose()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1"))
    port = server.sockets[0].getsockname()[1]

    def fetch(data: bytes) -> None:
        nonlocal answer
        answer = data
        loop.run_until_complete(ask(port))

    yield Target("HTTP answer", 2, of(*_ANSWERS), fetch)


# --- what is on disk


def run_targets(folder: Path) -> Iterator[Target]:
    run = build_run(folder / "run", (0, 16, 40), failed=[3])
    assert command("gather", run.path, "--allow-missing")[0] in (0, 1)
    journal = next(run.attempts.glob("*.journal"))
    records = [checked_lines.decode(line) for line in journal.read_bytes().splitlines()]
    claim = run.claims(1) / "000000.1"
    claim.parent.mkdir(exist_ok=True)
    lines = checked_lines.encode(["0001-00000-00000000", 0, 16])

    def journal_of(dice: random.Random) -> bytes:
        if dice.random() < 0.7:
            return mutated(dice, [journal_bytes])
        changed = list(records)
        at = dice.randrange(len(changed))
        # What another version may write: other fields, other records.
        changed[at] = {**changed[at], "new": [1]} if dice.random() < 0.5 else dice.choice(VALUES)
        return b"".join(map(checked_lines.encode, changed))

    def replaced(path: Path, look: Callable[[], object]) -> Callable[[bytes], None]:
        good = path.read_bytes() if path.exists() else b""

        def take(data: bytes) -> None:
            path.write_bytes(data)
            try:
                look()
            finally:
                path.write_bytes(good)

        return take

    def look() -> None:
        status_lines(StatusReader(run).read(), with_shards=True)
        survey_results(run, Plan.read(run.plan))

    def look_at_result() -> None:
        verify(run)
        with results.open(run.result, allow_incomplete=True) as found:
            found.summary, found.provenance, found.ids, found.status, len(found), repr(found)
            for name in found.outputs:
                found[name]
            if not found.complete:
                raise LauncherError("not complete")

    journal_bytes = journal.read_bytes()
    plan, submission = run.plan.read_bytes(), run.submission(1).read_bytes()
    outcome = json.dumps({"ended": 1.0, "cancelled": False, "failures": {"0": {"kind": "CRASH", "message": "m", "shard": 0}},
                          "error": None, "failed_samples": 1}).encode()  # fmt: skip
    yield Target("journal", 4, journal_of, replaced(journal, look))
    yield Target("plan.json", 4, of(plan, make=mutated_json), replaced(run.plan, look))
    yield Target("submission", 4, of(submission, make=mutated_json), replaced(run.submission(1), look))
    yield Target("layout.json", 8, of(run.layout.read_bytes(), make=mutated_json), replaced(run.layout, lambda: read_layout(run)))
    yield Target("claim", 20, of(lines), replaced(claim, lambda: holdings(ClaimFolder(claim.parent).read())))
    shutil.copy(run.manifest, folder / "kept.arrow")
    yield Target("manifest.arrow", 1, of(run.manifest.read_bytes()), replaced(run.manifest, lambda: verify(run)), forks=True)
    yield Target("result.h5", 3, of(run.result.read_bytes()), replaced(run.result, look_at_result), forks=True)
    run.outcome(1).write_bytes(outcome)
    yield Target("outcome", 3, of(outcome, make=mutated_json), replaced(run.outcome(1), look))


def all_targets(folder: Path) -> list[Target]:
    makers = (config_targets, manifest_targets, slurm_targets, http_targets, run_targets)
    return [target for make in makers for target in make(folder)]


# --- trying


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS:g} s")


def refused(target: Target, data: bytes) -> bool:
    """Whether an input is refused with a message. Raises where it ends otherwise."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):  # type: ignore[type-var]
            target.take(data)
    except (LauncherError, OSError) as error:
        if not str(error):
            raise AssertionError(f"{type(error).__name__} without a message") from error
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def refused_in_fork(target: Target, data: bytes) -> bool:
    """The same in a process of its own, whose death by a signal is the library's, and is seen here."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(refused(target, data))
        except BaseException:  # noqa: BLE001 - the process boundary
            traceback.print_exc()
            os._exit(9)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise AssertionError(f"the process ended with {code}")
    return code == 1


def peak() -> int:
    """The most memory that this process or a child of it has had, bytes."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(one).ru_maxrss for one in who)


def main(folder: Path, count: int, seed: int, only: str | None = None) -> int:
    signal.signal(signal.SIGALRM, _too_slow)
    targets = [target for target in all_targets(folder) if only in (None, target.name)]
    weights = sum(target.weight for target in targets)
    problems = 0
    for target in targets:
        dice, tries, found, slowest, before = random.Random(seed), max(1, count * target.weight // weights), 0, 0.0, peak()
        for number in range(tries):
            data = target.make(dice)
            began = time.monotonic()
            try:
                found += (refused_in_fork if target.forks else refused)(target, data)
                if peak() - before > BYTES:
                    raise AssertionError(f"{(peak() - before) >> 20} MB more memory")  # noqa: TRY301
            except Exception:  # noqa: BLE001 - this is what is looked for
                problems += 1
                place = folder / f"input-{target.name.replace(' ', '')}-{problems}"
                place.write_bytes(data)
                print(f"{target.name}, number {number} of seed {seed}, kept as {place}:\n{traceback.format_exc()[-1500:]}", flush=True)
                before = peak()
            slowest = max(slowest, time.monotonic() - began)
        print(f"{target.name}: {tries} inputs, {found} refused, {slowest:.2f} s at most", flush=True)
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]))

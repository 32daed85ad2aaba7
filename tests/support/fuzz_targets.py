"""Targets: what users, schedulers, servers and disks may hand to the launcher: good examples, and who reads them."""

import asyncio
import contextlib
import gzip
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import LauncherError
from jobs.gather.survey import survey_results
from jobs.gather.verify import verify
from jobs.http.fetcher import DownloadError, Fetcher, FetchLimits
from jobs.http.part_file import PartialDownload
from jobs.kinds import FailureKind
from jobs.storage import checked_lines
from jobs.storage.claims import Claim, ClaimFolder, holdings
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher import results
from launcher.config.config import load_config
from launcher.manifest.manifest import build_manifest
from launcher.runs.failures import Failure
from launcher.runs.submissions import Outcome
from launcher.slurm import associations, limits, parsers, scheduler
from launcher.slurm.accounting import allocation, by_element, has_ended, judge, was_taken
from launcher.slurm.template import Template
from launcher.status.progress import status_lines
from launcher.status.reader import StatusReader
from tests.support.builders import build_run
from tests.support.instant_executor import command
from tests.support.mutation import VALUES, mutated, mutated_json
from tests.support.tars import write_tar


@dataclass(frozen=True)
class Target:
    """What is tried: ``make`` gives an input, ``take`` has it read; ``weight`` is its share of the inputs.

    ``forks``: in a process of its own, since a library may crash.
    """

    name: str
    weight: int
    make: Callable[[random.Random], bytes]
    take: Callable[[bytes], None]
    forks: bool = False


def of(
    *examples: str | bytes, make: Callable[[random.Random, Sequence[bytes]], bytes] = mutated
) -> Callable[[random.Random], bytes]:
    """Makes inputs of good examples."""
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
        "parquet": [parquet.read_bytes()], "arrow": [arrow.read_bytes()], "tar": _tars(folder), "h5": [_hdf5(folder)],
    }  # fmt: skip

    def reader(name: str) -> Callable[[bytes], None]:
        path, out = folder / f"data.{name}", folder / "manifest.arrow"

        def read(data: bytes) -> None:
            path.write_bytes(data)
            build_manifest([str(path)], out, "id" if len(data) % 2 else None, None)

        return read

    for name, known in examples.items():
        # Arrow's and HDF5's own readers may crash with files that are damaged in the right places.
        yield Target(f"manifest.{name}", 2, of(*known), reader(name), forks=name in ("parquet", "arrow", "h5"))


def _tars(folder: Path) -> list[str | bytes]:
    """Of each form, with long names too."""
    found: list[str | bytes] = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        name = "a" if form == tarfile.USTAR_FORMAT else "ü" * 200
        write_tar(folder / "good.tar", [("a/1.jpg", b"1"), ("a/1.txt", b"2" * 600), (f"{name}.jpg", b"")], form)
        found.append((folder / "good.tar").read_bytes())
    return found


def _hdf5(folder: Path) -> bytes:
    with h5py.File(folder / "good.h5", "w") as file:
        file["id"], file["x"] = ["a", "b", "c"], [[1], [2], [3]]
        file.create_dataset("y", data=[1.5, 2.5, 3.5], chunks=(2,), compression="gzip")
    return (folder / "good.h5").read_bytes()


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
_SBATCH = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (QOSMaxSubmitJobPerUserLimit)\n"
)
_LIMITS = "MaxArraySize            = 1001\nMaxJobCount = 10000\nAccountingStorageType = accounting_storage/slurmdbd\n"


def slurm_targets(folder: Path) -> Iterator[Target]:
    def account(data: bytes) -> None:
        rows = list(parsers.read_accounting(data.decode(errors="replace")))
        for row in by_element(rows).values():
            judge(row, 0, began=bool(row.index), words="")
            allocation(row), was_taken(row), has_ended(row)

    def answered(data: bytes) -> Callable[..., str]:
        return lambda *command, **options: data.decode(errors="replace")

    def queue(data: bytes) -> None:
        for module in (scheduler, limits):
            module.ask = module.run = answered(data)  # type: ignore[attr-defined]
        scheduler.queue()
        scheduler.find("run-ab12-1")
        limits.forget()
        limits.limits_for({})
        limits.nodes({})
        scheduler.jobs(["12"])

    def submit(data: bytes) -> None:
        text = data.decode(errors="replace")
        parsers.said(text), parsers.read_job_id(text), associations.read_policy(text, text, text, text)
        parsers.is_passing(text), parsers.is_submit_limit(text), parsers.is_queue_full(text)

    yield Target("sacct", 40, of(_SACCT), account)
    yield Target("squeue, scontrol", 30, of(_SQUEUE, "12|run-ab12-1\n13|run\n", _LIMITS), queue)
    yield Target("sbatch, sacctmgr", 10, of(_SBATCH, "123;cluster\n", "123\n", "|10\n50|\n||\n"), submit)


_ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello',
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


def journals_of(journal: bytes) -> Callable[[random.Random], bytes]:
    """Damaged ones, and what another version may write: other fields, other records."""
    records = [checked_lines.decode(line) for line in journal.splitlines()]

    def make(dice: random.Random) -> bytes:
        if dice.random() < 0.7:
            return mutated(dice, [journal])
        changed = list(records)
        at = dice.randrange(len(changed))
        changed[at] = {**changed[at], "new": [1]} if dice.random() < 0.5 else dice.choice(VALUES)
        return b"".join(map(checked_lines.encode, changed))

    return make


def replaced(path: Path, look: Callable[[], object]) -> Callable[[bytes], None]:
    """Takes an input as the content of a file, for as long as somebody looks at it."""
    good = path.read_bytes()

    def take(data: bytes) -> None:
        path.write_bytes(data)
        try:
            look()
        finally:
            path.write_bytes(good)

    return take


def look_at_result(run: RunDir) -> None:
    verify(run)
    with results.open(run.result, allow_incomplete=True) as found:
        for look in ("summary", "provenance", "ids", "status", "outputs"):
            getattr(found, look)
        for name in found:
            found[name]


def run_targets(folder: Path) -> Iterator[Target]:
    run = build_run(folder / "run", (0, 16, 40), failed=[3])
    assert command("gather", run.path)[0] == 0
    Outcome(1.0, failures={0: Failure(FailureKind.CRASH, "killed", 0)}, failed_samples=1).write(run, 1)
    run.claims(1).mkdir()
    assert ClaimFolder(run.claims(1)).take(Claim(0, 1, "0001-00000-00000000", 0, 16))

    def look() -> None:
        found = StatusReader(run).read()
        status_lines(found, list(found.shard_rows()))
        survey_results(run, Plan.read(run.plan))

    def target(name: str, weight: int, path: Path, look: Callable[[], object], forks: bool = False) -> Target:
        makes = mutated_json if path.suffix in (".json", ".outcome") else mutated
        return Target(name, weight, of(path.read_bytes(), make=makes), replaced(path, look), forks)

    journal, claim = next(run.attempts.glob("*.journal")), run.claims(1) / "000000.1"
    yield Target("journal", 4, journals_of(journal.read_bytes()), replaced(journal, look))
    yield target("plan.json", 4, run.plan, look)
    yield target("submission", 4, run.submission(1), look)
    yield target("outcome", 3, run.outcome(1), look)
    yield target("layout.json", 8, run.layout, lambda: read_layout(run))
    yield target("claim", 20, claim, lambda: holdings(ClaimFolder(claim.parent).read()))
    yield target("manifest.arrow", 1, run.manifest, lambda: verify(run), forks=True)
    yield target("result.h5", 3, run.result, lambda: look_at_result(run), forks=True)


def all_targets(folder: Path) -> list[Target]:
    makers = (config_targets, manifest_targets, slurm_targets, http_targets, run_targets)
    return [target for make in makers for target in make(folder)]

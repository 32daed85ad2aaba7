"""node: the node runtime beside its peers, in turns, in one run: Markdown tables, goals, and plots.

    python -m benchmarks.node [--only images,tiny] [--repetitions 10] [--setting 2x0] [--largest 1000000]

Parts: images and device (2,000 JPEGs), moving (large samples), tiny (small ones), start (processes that need torch),
first (the first batch), memory (of a run), devices (a slow and a fast one). The plots go into docs/plots.
"""

import argparse
import compileall
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import plots
from benchmarks.contest import machine
from benchmarks.node_devices import devices
from benchmarks.node_images import device, images
from benchmarks.node_memory import run_memory
from benchmarks.node_moving import moving
from benchmarks.node_start import first_batch, start
from benchmarks.node_tiny import tiny
from benchmarks.ours import Ours
from benchmarks.section import Bench, Section

_ROOT = Path(__file__).parents[1]
_PARTS: dict[str, Callable[[Bench], Section]] = {
    "images": images,
    "device": device,
    "moving": moving,
    "tiny": tiny,
    "start": start,
    "first": first_batch,
    "memory": run_memory,
    "devices": devices,
}


def _setting(text: str) -> Ours:
    processes, _, workers = text.partition("x")
    return Ours(int(processes), int(workers))


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(_PARTS):
        raise argparse.ArgumentTypeError(f"no part {', '.join(sorted(unknown))}; valid: {', '.join(_PARTS)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_parts, default=list(_PARTS), help="parts, with commas (default: all)")
    parser.add_argument("--repetitions", type=int, help="of each part (default: 2 to 10, each part's own)")
    parser.add_argument(
        "--setting", type=_setting, action="append", metavar="PxW",
        help="processes x workers of ours in the part images; may be given several times, what `launcher probe` recommends "
        "first: that is held to the goal (default: 2x0 and 1x2)",
    )  # fmt: skip
    parser.add_argument(
        "--largest", type=int, default=10_000_000, help="samples, of the part tiny (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    for name in ("jobs", "benchmarks"):  # as pip does with what it installs, the peers among it
        compileall.compile_dir(_ROOT / name, quiet=1)
    settings = tuple(options.setting or (Ours(2, 0), Ours(1, 2)))
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        bench = Bench(Path(scratch), options.repetitions, settings, options.largest)
        for name in options.only:
            section = _PARTS[name](bench)
            print(section.markdown(), flush=True)
            _draw(section)


def _draw(section: Section) -> None:
    if section.plots and not plots.available():
        print("no plots: pip install 'shardrun[benchmark]'", file=sys.stderr)
        return
    for plot in section.plots:
        print(f"written: {plot.write(_ROOT / 'docs' / 'plots')}", file=sys.stderr)


if __name__ == "__main__":
    main()

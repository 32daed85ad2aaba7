"""gpu: a network of ResNet-50's size on one GPU: images/s of the whole path, as a share of the network's own.

``python -m benchmarks.gpu`` prints a Markdown table; it needs a CUDA device (``--device cpu --images 64 128 --width 8``
tries the script elsewhere). Both sides work in batches of the same size, dtype and memory format. The network alone
repeats a batch that is on the GPU already. Ours is ``launcher run`` on a manifest of images in a memory-mapped file, from
page cache to result, at two sizes: the difference is free of start-up, and is what a long run goes on at.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.contest import table
from jobs.job import Context, Job
from jobs.storage.samples import Sample
from launcher.config.core_schema import written

_SIDE = 224
# So many different images, each used again and again: they stay in the page cache.
_DIFFERENT = 1024


def network(width: int) -> Any:
    """A bottleneck network; width 64 has ResNet-50's stages (He et al. 2015, table 1): 23.5M weights, 4.1 GFLOP an image."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, channels: int, stride: int) -> None:
            super().__init__()
            out = 4 * channels
            self.main = nn.Sequential(
                nn.Conv2d(inside, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
                nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out),
            )  # fmt: skip
            same = inside == out and stride == 1
            self.short = (
                nn.Identity() if same else nn.Sequential(nn.Conv2d(inside, out, 1, stride), nn.BatchNorm2d(out))
            )

        def forward(self, images: Any) -> Any:
            return nn.functional.relu(self.main(images) + self.short(images), inplace=True)

    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inside = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        channels = width << stage
        for number in range(blocks):
            layers.append(Block(inside, channels, 2 if stage and not number else 1))
            inside = 4 * channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Network(Job):
    """Embeds images uint8 [3, 224, 224] of a memory-mapped file: ``embedding`` float32 [32 x width]."""

    preload: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, images: str, width: int) -> None:
        self._path = images
        self._width = width

    def setup_worker(self, context: Context) -> None:
        self._images = np.load(self._path, mmap_mode="r")

    def load(self, sample: Sample) -> np.ndarray:
        return np.asarray(self._images[sample.index % len(self._images)])

    def collate(self, items: list[np.ndarray]) -> Any:
        import torch

        return torch.from_numpy(np.stack(items))

    def setup(self, context: Context) -> None:
        import torch

        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        self.dtype = torch.float16 if context.device.startswith("cuda") else torch.float32
        model = network(self._width).eval().to(context.device, self.dtype)
        self._model = model.to(memory_format=torch.channels_last)

    def process(self, batch: Any) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            images = batch.to(self.dtype, memory_format=torch.channels_last).div_(255)
            return {"embedding": self._model(images).float()}


def alone(images: Path, options: argparse.Namespace) -> float:
    """Seconds for an image of the network alone, its batch being on the device."""
    import torch

    job = Network(str(images), options.width)
    job.setup(Context(options.device, 0, None, Path(), 0))
    batch = torch.from_numpy(np.load(images)[: options.batch]).to(options.device)
    rounds = max(2, int(options.images[1]) // len(batch) // 4)
    _process(job, batch, max(2, rounds // 4))  # to warm up
    return _process(job, batch, rounds) / rounds / len(batch)


def _process(job: Network, batch: Any, rounds: int) -> float:
    started = time.perf_counter()
    for _ in range(rounds):
        job.process(batch)["embedding"].cpu()
    return time.perf_counter() - started


def run(folder: Path, images: Path, count: int, options: argparse.Namespace) -> float:
    """Seconds of ``launcher run`` over so many images."""
    name = f"run-{count}-{time.monotonic_ns()}"
    with (folder / f"{count}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["number"], *([number] for number in range(count))])
    config = {
        "name": name, "runs": "runs", "executor": "local",
        "job": {"class": "benchmarks.gpu:Network", "params": {"images": str(images), "width": options.width}},
        "data": {"manifest": f"{count}.csv", "shards": 1},
        "node": {"devices": [options.device], "workers": options.workers, "batch_size": options.batch},
    }  # fmt: skip
    (folder / "config.yaml").write_text(written(config))
    started = time.perf_counter()
    command = [sys.executable, "-m", "launcher", "run", str(folder / "config.yaml")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--images", type=int, nargs=2, default=(16_384, 65_536), help="a short and a long run")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        folder = Path(scratch)
        images = folder / "images.npy"
        generator = np.random.default_rng(0)
        np.save(images, generator.integers(0, 256, (_DIFFERENT, 3, _SIDE, _SIDE), np.uint8))
        short, long = options.images
        shares, rates = [], []
        for _ in range(options.repetitions):
            network_alone = alone(images, options)
            ours = (run(folder, images, long, options) - run(folder, images, short, options)) / (long - short)
            shares.append(network_alone / ours)
            rates.append((1 / network_alone, 1 / ours))
    rate_alone, rate_ours = (statistics.median(column) for column in zip(*rates, strict=True))
    head = ("network alone, images/s", "ours, images/s", "share", "(least to most)")
    row = [f"{rate_alone:,.0f}", f"{rate_ours:,.0f}", f"{statistics.median(shares):.3f}"]
    print(table(head, [[*row, f"{min(shares):.3f} to {max(shares):.3f}"]]))


if __name__ == "__main__":
    main()

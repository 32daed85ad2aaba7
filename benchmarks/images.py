"""Images: JPEG files, decoded one by one and embedded by a small network. A work of benchmarks/node.py."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COUNT = 2000
_SIDE = 256
_CROP = 224


def make_images(folder: Path) -> None:
    """COUNT JPEGs of 256 x 256 pixels, always the same: smooth colours under some noise, about 20 KB each."""
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.int16)
        pixels = smooth + generator.integers(-12, 13, (_SIDE, _SIDE, 1), np.int16)
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        (folder / f"{number:05d}.jpg").write_bytes(file.getvalue())


class Images:
    """Files -> uint8 [3, 224, 224] -> float32 [64]."""

    batch_size = 32
    modules = ("torch",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sources = [f"{number:05d}.jpg" for number in range(COUNT)]
        self._network: Any = None

    def load(self, source: str) -> np.ndarray:
        margin = (_SIDE - _CROP) // 2
        with Image.open(self._folder / source) as image:
            pixels = np.asarray(image.convert("RGB").crop((margin, margin, margin + _CROP, margin + _CROP)))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def setup(self) -> None:
        import torch
        from torch import nn

        torch.manual_seed(0)
        self._network = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride=4), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ).eval()  # fmt: skip
        for _ in range(2):
            self.process(np.zeros((self.batch_size, 3, _CROP, _CROP), np.uint8))

    def process(self, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            result: np.ndarray = self._network(torch.from_numpy(batch).float().div_(255)).numpy()
        return result

"""Images: 2,000 JPEG files, decoded one by one and embedded by a small network. Works of node_images.py."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Pillow imports what reads a format when it opens its first file; here imports are part of the start, for all contestants.
Image.preinit()

COUNT = 2000
DEVICE_SECONDS = 0.0008
"""What a sample takes of the pretended device."""
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
    """Files, over and over -> uint8 [3, 224, 224] -> float32 [64]."""

    batch_size = 32
    modules: tuple[str, ...] = ("torch",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network: Any = None

    def load(self, source: int) -> np.ndarray:
        margin = (_SIDE - _CROP) // 2
        with Image.open(self._folder / f"{source % COUNT:05d}.jpg") as image:
            pixels = np.asarray(image.convert("RGB").crop((margin, margin, margin + _CROP, margin + _CROP)))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def setup(self, process: int) -> None:
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


class ImagesOnDevice(Images):
    """The same files, where a device computes and the process only waits for it: uint8 [3, 224, 224] -> float32 [3]."""

    modules = ()

    def setup(self, process: int) -> None:
        pass

    def process(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(DEVICE_SECONDS * len(batch))
        return batch[:, :, _CROP // 2, _CROP // 2].astype(np.float32)

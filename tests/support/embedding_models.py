"""Small torch models for tests of the built-in embedding jobs; made by name, or as TorchScript files."""

import warnings
from pathlib import Path
from typing import Any

import torch


class SpeechStatistics(torch.nn.Module):
    """[b, frames, mels], [b] -> [b, 4 mels]: mean and deviation over time of normalised features and of a convolution."""

    centre: torch.Tensor
    kernel: torch.Tensor

    def __init__(self, centre: list[float]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        mels = len(centre)
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("kernel", torch.randn(mels, mels, 3, generator=generator) / mels)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        inside = torch.arange(features.shape[1], device=features.device)[None] < lengths[:, None]
        mask = inside[:, :, None].to(features.dtype)
        values = (features - self.centre) * mask
        moved = torch.tanh(torch.conv1d(values.transpose(1, 2), self.kernel, padding=1)).transpose(1, 2)
        both = torch.cat([values, moved], 2) * mask
        count = lengths[:, None].to(features.dtype)
        mean = both.sum(1) / count
        deviation = torch.sqrt((((both - mean[:, None]) * mask) ** 2).sum(1) / count)
        return torch.cat([mean, deviation], 1)


class Deaf(torch.nn.Module):
    """A mean over time that counts padding as if it were sound."""

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return features.mean(1)


class Vision(torch.nn.Module):
    """[b, 3, h, w] -> [b, d]: a small convolution with random weights, and the corners' colours."""

    def __init__(self, d: int = 16) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, d - 12, 5, stride=3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        corners = images[:, :, :: images.shape[2] - 1, :: images.shape[3] - 1].flatten(1)
        return torch.cat([torch.tanh(self.convolution(images)).mean((2, 3)), corners], 1)


class Layout(torch.nn.Module):
    """[b, 2]: whether images and weights are in the channels-last memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        both = [images, self.convolution.weight]
        found = [float(one.is_contiguous(memory_format=torch.channels_last)) for one in both]
        return torch.tensor([found] * len(images))


class Colour(torch.nn.Module):
    """[b, 3]: the mean of each colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def two_axes_too_many() -> torch.nn.Module:
    return torch.nn.Identity()


def not_a_model() -> Any:
    return 5


def save_script(model: torch.nn.Module, path: Path) -> Path:
    """Writes a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(model.eval()), path)
    return path

"""ImageEmbedding: one vector per image file, by any torch model that takes images.

A built-in Job, named in a config as ``jobs.image_embedding:ImageEmbedding``. Pool workers decode, turn, crop and resize
to bytes; the process normalises them on its device, so that a quarter of the memory of floats is moved.
"""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from jobs.embedding.torch_model import Dtype, TorchModel
from jobs.errors import InputError
from jobs.images.image_file import in_8_bits, need_size, set_limits, upright_image
from jobs.inputs import bad_parameter, content_of, need_folder, need_number, need_one_of, need_packages, need_whole
from jobs.job import Context, Job

if TYPE_CHECKING:
    import torch

Filter = Literal["bicubic", "bilinear", "lanczos", "box", "nearest"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green, blue from 0 to 1, over the training set; with them most published models were trained."""

_MEANS = "3 numbers from 0 to 1: red, green, blue"
_STDS = "3 numbers over 0: red, green, blue"


class ImageEmbedding(Job):
    """Output per file: ``embedding`` float32 [d]; or what a model names that returns a dict.

    Args:
        model: a TorchScript file (a relative one starts at the config's folder); module:function that returns a
            torch.nn.Module; or timm:NAME, a pretrained model of timm without its classifier. It is called as
            model(images [b, 3, height, width]) -> [b, d], or a dict of tensors [b, ...], which are outputs by their names.
        model_params: keyword arguments of the function, or of timm.create_model
        path: column of the files, or of their bytes: an extension of the files in a tar
        folder: where relative files start; itself it starts at the config's folder
        size: pixels of what the model gets, a number or [height, width]
        crop: share of the image that is used along each side, after its longer side is cut to the shape of size
        resample: the filter that resizes
        mean: of red, green, blue from 0 to 1; the model gets (value / 255 - mean) / std
        std: of red, green, blue from 0 to 1
        draft: decodes JPEGs that are much larger than needed at half, a quarter or an eighth of their size, at least
            twice what is needed: twice as fast at 12 megapixels, and colours are off by one or two of 255 on average
        dtype: of weights and images
        channels_last: weights and images in this memory format, mostly the faster one for convolutions
        max_pixels: width x height; a file with more fails before its pixels are unpacked, 3 bytes each and more
        max_text: bytes of the texts and colour profiles in a PNG, unpacked; a file with more fails

    Images are turned as their EXIF orientation says; grey and palette images become RGB, and transparency is dropped. The
    first image of an animation counts.

    Raises InputError for parameters that cannot work. A file that is no image or is cut short fails its sample.
    """

    preload: ClassVar[tuple[str, ...]] = (
        "torch",
        "PIL.Image",
        "PIL.ImageOps",
        "PIL.JpegImagePlugin",
        "PIL.PngImagePlugin",
    )
    param_files: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(
        self,
        model: str,
        model_params: dict[str, Any] | None = None,
        path: str = "path",
        folder: Path = Path(),
        size: int | tuple[int, int] = 224,
        crop: float = 0.875,
        resample: Filter = "bicubic",
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        draft: bool = False,
        dtype: Dtype = "float32",
        channels_last: bool = True,
        max_pixels: int = 178_956_970,
        max_text: int = 64 << 20,
    ) -> None:
        need_packages("ImageEmbedding", "image")
        self._model = TorchModel(*with_timm(model, model_params), dtype)
        self._path = path
        self._folder = need_folder("folder", folder)
        self._height, self._width = need_size(size)
        self._crop = need_number("crop", crop, "a share over 0, up to 1", most=1.0)
        self._resample = need_one_of("resample", resample, get_args(Filter))
        self._mean = [need_number("mean", value, _MEANS, above=-1.0) for value in _three("mean", mean, _MEANS)]
        self._std = [need_number("std", value, _STDS) for value in _three("std", std, _STDS)]
        self._draft, self._channels_last = draft, channels_last
        self._max_pixels = need_whole("max_pixels", max_pixels, "a number of pixels")
        self._max_text = need_whole("max_text", max_text, "a number of bytes")

    def manifest_columns(self) -> tuple[str, ...]:
        """That of the files."""
        return (self._path,)

    def setup_worker(self, context: Context) -> None:
        """Puts these limits in the place of pillow's own."""
        set_limits(self._max_text)

    def load(self, sample: Mapping[str, Any]) -> np.ndarray:
        """Pixels uint8 [height, width, 3]; raises ValueError or OSError for a file that is no whole image."""
        file = content_of(sample, self._path, self._folder)
        size = self._width, self._height
        return read_image(file, size, self._crop, self._resample, self._draft, self._max_pixels)

    def setup(self, context: Context) -> None:
        """Loads the model on ``context.device``."""
        import torch

        self._layout = torch.channels_last if self._channels_last else torch.contiguous_format
        self._model.load(context, self._layout)
        values = torch.tensor([self._mean, self._std], device=self._model.device)
        self._shift, self._scale = values[:, :, None, None]

    def process(self, batch: np.ndarray) -> dict[str, "torch.Tensor"]:
        """Outputs, on the model's device, of pixels uint8 [n, height, width, 3]."""
        import torch

        pixels = torch.from_numpy(batch).to(self._model.device, non_blocking=True).permute(0, 3, 1, 2)
        images = pixels.float().div_(255).sub_(self._shift).div_(self._scale)
        return self._model.outputs("embedding", images.to(self._model.dtype, memory_format=self._layout))


def with_timm(model: str, params: dict[str, Any] | None) -> tuple[str, dict[str, Any] | None]:
    """The model and its params; ``timm:NAME`` as a call of timm.create_model. Raises InputError where timm is missing."""
    library, _, name = model.partition(":")
    if library != "timm" or not name:
        return model, params
    if importlib.util.find_spec("timm") is None:
        raise InputError(
            f"job.params: model: {model} needs the package timm, and a torchvision that fits the installed torch: "
            "pip install timm. Valid without it: a TorchScript file, or module:function"
        )
    return "timm:create_model", {"model_name": name, "pretrained": True, "num_classes": 0, **(params or {})}


def read_image(
    file: Path | io.BytesIO, size: tuple[int, int], crop: float, resample: str, draft: bool, max_pixels: int
) -> np.ndarray:
    """Pixels uint8 [height, width, 3] of the part that is used; ``size`` is (width, height). Raises ValueError."""
    from PIL import Image, ImageOps

    method = Image.Resampling[resample.upper()]
    with upright_image(file, max_pixels, int(2 * max(size) / crop) if draft else None) as upright:
        return np.asarray(ImageOps.fit(in_8_bits(upright).convert("RGB"), size, method, bleed=(1 - crop) / 2))


def _three(name: str, values: object, valid: str) -> Sequence[Any]:
    if not isinstance(values, tuple | list) or len(values) != 3:
        raise bad_parameter(name, values, valid)
    return values

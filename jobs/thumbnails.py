"""Thumbnails: a small JPEG, WebP or PNG of each image file, by pillow, without torch.

A built-in Job, named in a config as ``jobs.thumbnails:Thumbnails``. All is done in the pool workers; the process passes on
what they return.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from jobs.images.image_file import in_8_bits, need_size, set_limits, upright_image
from jobs.inputs import bad_parameter, content_of, need_folder, need_one_of, need_packages, need_whole
from jobs.job import Context, Job

if TYPE_CHECKING:
    from PIL.Image import Image

Format = Literal["jpg", "webp", "png"]

# What WebP can hold; of a thumbnail it is enough.
_MOST_PIXELS = 16_383
_WITH_PROFILE = ("L", "RGB", "RGBA", "CMYK")


class Thumbnails(Job):
    """Outputs per file: its thumbnail, bytes, by the name of its format: ``jpg``, ``webp`` or ``png``; ``width``, ``height``.

    Args:
        path: column of the files, or of their bytes: an extension of the files in a tar
        folder: where relative files start; itself it starts at the config's folder
        size: pixels within which a thumbnail lies, a number or [height, width]; an image that is smaller keeps its size
        format: of the thumbnails
        quality: of jpg and webp, 1 to 100
        background: what is behind an image with transparency as jpg; webp and png keep it
        max_pixels: width x height; a file with more fails before its pixels are unpacked, 3 bytes each and more
        max_text: bytes of the texts and colour profiles in a PNG, unpacked; a file with more fails

    Images are turned as their EXIF orientation says, and their colours become sRGB. The first image of an animation counts.

    Raises InputError for parameters that cannot work. A file that is no image or is cut short fails its sample.
    """

    preload: ClassVar[tuple[str, ...]] = (
        "PIL.Image",
        "PIL.ImageCms",
        "PIL.ImageOps",
        "PIL.JpegImagePlugin",
        "PIL.PngImagePlugin",
        "PIL.WebPImagePlugin",
    )

    def __init__(
        self,
        path: str = "path",
        folder: Path = Path(),
        size: int | tuple[int, int] = 256,
        format: Format = "jpg",  # noqa: A002 - what a config calls it
        quality: int = 85,
        background: str = "#ffffff",
        max_pixels: int = 178_956_970,
        max_text: int = 64 << 20,
    ) -> None:
        need_packages("Thumbnails", "thumbnails")
        self._path = path
        self._folder = need_folder("folder", folder)
        self._height, self._width = need_size(size)
        if max(self._height, self._width) > _MOST_PIXELS:
            raise bad_parameter("size", size, f"up to {_MOST_PIXELS} pixels")
        self._format = need_one_of("format", format, get_args(Format))
        self._quality = need_whole("quality", quality, "1 to 100")
        if quality > 100:
            raise bad_parameter("quality", quality, "1 to 100")
        if not isinstance(background, str) or not re.fullmatch("#[0-9a-fA-F]{6}", background):
            raise bad_parameter("background", background, 'a colour such as "#ffffff"')
        self._background = background
        self._max_pixels = need_whole("max_pixels", max_pixels, "a number of pixels")
        self._max_text = need_whole("max_text", max_text, "a number of bytes")

    def manifest_columns(self) -> tuple[str, ...]:
        """That of the files."""
        return (self._path,)

    def setup_worker(self, context: Context) -> None:
        """Puts these limits in the place of pillow's own."""
        set_limits(self._max_text)

    def load(self, sample: Mapping[str, Any]) -> tuple[bytes, int, int]:
        """The thumbnail, its width and height; raises ValueError or OSError for a file that is no whole image."""
        file = content_of(sample, self._path, self._folder)
        with upright_image(file, self._max_pixels, 2 * max(self._width, self._height)) as upright:
            image = _with_few_modes(upright)
            image.thumbnail((self._width, self._height), reducing_gap=3.0)
            image = _in_srgb(image)
        return self._encoded(image), image.width, image.height

    def _encoded(self, image: "Image") -> bytes:
        from PIL import Image

        if self._format == "jpg" and image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, self._background), image).convert("RGB")
        image.info = {}  # some formats would write what the file said of itself
        content = io.BytesIO()
        image.save(content, "JPEG" if self._format == "jpg" else self._format, quality=self._quality)
        return content.getvalue()

    def collate(self, items: list[tuple[bytes, int, int]]) -> dict[str, Any]:
        """A list of bytes, and sizes int32 [n]."""
        thumbnails, widths, heights = zip(*items, strict=True)
        sizes = {"width": np.array(widths, np.int32), "height": np.array(heights, np.int32)}
        return {self._format: list(thumbnails), **sizes}

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch


def _with_few_modes(image: "Image") -> "Image":
    """The image as L, RGB or CMYK, or with transparency as RGBA: what can be made smaller, and has colours of a profile."""
    image = in_8_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in _WITH_PROFILE else image.convert("RGB")


def _in_srgb(image: "Image") -> "Image":
    """RGB or RGBA, by the colour profile of the image if it has one that can be used."""
    from PIL import ImageCms

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile := image.info.get("icc_profile"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            return found or image.convert(mode)
        except (OSError, ImageCms.PyCMSError):  # damaged, or of another kind of image: browsers leave it out, too
            pass
    return image.convert(mode)

"""ImageFile: the image in a file, or in its bytes, upright; or what is wrong with it, in one sentence.

The first image of an animation counts. What is large once it is unpacked is refused before it is.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.inputs import bad_parameter, need_whole

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZES = "pixels, a number or [height, width]"


def need_size(size: object) -> tuple[int, int]:
    """Height and width of a parameter ``size``; raises InputError."""
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise bad_parameter("size", size, _SIZES)
    height, width = (need_whole("size", side, _SIZES) for side in sides)
    return height, width


def set_limits(max_text: int) -> None:
    """Puts limits in the place of pillow's own: of the texts and profiles in a PNG, in bytes; of pixels there is one here."""
    from PIL import Image, PngImagePlugin

    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = max_text


@contextmanager
def upright_image(file: Path | io.BytesIO, max_pixels: int, enough: int | None = None) -> Iterator["Image"]:
    """The image, turned as its EXIF orientation says. Raises ValueError for what pillow says of it, in the context too.

    A JPEG that is much larger than ``enough`` pixels a side comes at half, a quarter or an eighth of its size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if math.prod(image.size) > max_pixels:
                raise ValueError(f"{image.width} x {image.height} pixels are more than max_pixels, {max_pixels}")
            if enough:
                image.draft(None, (enough, enough))
            yield ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: of a broken PNG
        hint = " (the parameter max_text)" if "MAX_TEXT" in str(error) else ""
        valid = "valid: a whole image, 8 or 16 bits a channel"
        shown = file if isinstance(file, Path) else f"{len(file.getbuffer()):,} bytes"
        # pillow would name the file again, or the address of its bytes, which is another one each time.
        why = "it begins as no image does" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{shown}: cannot be decoded: {why}{hint}; {valid}") from error


def in_8_bits(image: "Image") -> "Image":
    """The image with 8 bits a channel; pillow would clip 16 bits of grey instead of scaling them. Raises ValueError."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"the range of its pixels (mode {image.mode}) is not known")
    return image

"""Thumbnails: on real image files through the launcher, and single files against the picture that they show."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from jobs.errors import InputError
from jobs.thumbnails import Thumbnails
from launcher import results
from tests.jobs.embedding.test_torch_model import context
from tests.jobs.test_image_embedding import STORED, oriented, picture
from tests.support.launcher_runs import document, in_process, launcher, run_of

SIZE = 48


@pytest.fixture(autouse=True)
def pillow_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts pillow's own limits back, which are the module's."""
    for module, name in (
        (PngImagePlugin, "MAX_TEXT_CHUNK"),
        (PngImagePlugin, "MAX_TEXT_MEMORY"),
        (Image, "MAX_IMAGE_PIXELS"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


def thumbnail(path: Path, **params: Any) -> Image.Image:
    """That of a file, as others decode it; its size is what the Job says."""
    job = Thumbnails(**{"size": SIZE, "format": "png", **params})
    job.setup_worker(context())
    batch = job.process(job.collate([job.load({"path": str(path)})]))
    (content,) = batch.pop(params.get("format", "png"))
    image = Image.open(io.BytesIO(content))
    assert {name: value.tolist() for name, value in batch.items()} == {"width": [image.width], "height": [image.height]}
    assert max(image.size) <= SIZE
    assert image.info.keys().isdisjoint({"exif", "icc_profile"})
    return image


def differ(image: Image.Image, expected: Image.Image) -> float:
    """The mean difference of their colours, of 255."""
    small = expected.convert(image.mode).resize(image.size, Image.Resampling.BICUBIC)
    return float(np.abs(np.asarray(image, float) - np.asarray(small, float)).mean())


# --- through the launcher


def test_a_run_makes_thumbnails_that_are_tars_and_bad_files_fail_alone(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        picture(number, 96 + number, 64).save(folder / f"{number}.jpg")
    whole = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "bomb.png").write_bytes(bomb(30_000, 30_000))
    config = {
        "name": "small",
        "job": {"class": "jobs.thumbnails:Thumbnails", "params": {"size": SIZE}},
        "data": {"manifest": "images/*", "shards": 1},
        "node": {"workers": 1, "devices": "cpu", "batch_size": 4, "max_failed_samples": 2},
        "executor": "local",
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    done = launcher(tmp_path, "run", "config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    with results.open(run_of(tmp_path / "config.yaml").path) as found:
        bad = {found.ids[error["row"]]: error["message"] for error in found.errors.to_dict("records")}
        images = {name: Image.open(io.BytesIO(jpg)) for name, jpg in zip(found.ids, found["jpg"], strict=True) if jpg}
        sizes = list(zip(found["width"], found["height"], strict=True))
        shown = {name: image.size for name, image in images.items()}
        assert [size for name, size in zip(found.ids, sizes, strict=True) if name in shown] == list(shown.values())
    assert bad.keys() == {"images/cut.jpg", "images/bomb.png"}
    assert "truncated" in bad["images/cut.jpg"]
    assert "30000 x 30000 pixels are more than max_pixels" in bad["images/bomb.png"]
    assert all(differ(image, Image.open(tmp_path / name)) < 6 for name, image in images.items())
    assert in_process(tmp_path, "export", "small", "tars", "--format", "webdataset").returncode == 0
    with tarfile.open(tmp_path / "tars" / "000000.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        jpgs = {
            name: Image.open(io.BytesIO(file.read())).size
            for name, file in members.items()
            if file and name.endswith(".jpg")
        }
    assert list(jpgs.values()) == list(shown.values())
    tried = document(in_process(tmp_path, "try", "config.yaml", "--samples", "1", "--json"))
    stored = next(stage["returned"] for stage in tried["stages"] if stage["stage"] == "stored")
    assert {one["name"]: one["type"] for one in stored} == {"jpg": "bytes", "width": "array", "height": "array"}


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large; its pixels would be zeros."""
    data = io.BytesIO()
    Image.new("L", (1, 1)).save(data, "PNG")
    png = bytearray(data.getvalue())
    png[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


def test_it_works_without_torch_and_imports_nothing_heavy_before_it_has_to(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    code = f"""
import sys
sys.modules["torch"] = None
from jobs.thumbnails import Thumbnails
job = Thumbnails(folder={str(tmp_path)!r})
assert "PIL" not in sys.modules
job.setup_worker(None)
print(len(job.process(job.collate([job.load({{"path": "a.png"}})]))["jpg"][0]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert int(done.stdout) > 100


# --- single files


@pytest.mark.parametrize("orientation", list(STORED))
def test_a_thumbnail_is_upright(tmp_path: Path, orientation: int) -> None:
    found = thumbnail(oriented(picture(), orientation, tmp_path / "photo.png"))
    assert found.size == (SIZE, SIZE * 64 // 96)
    assert differ(found, picture()) < 1


@pytest.mark.parametrize("format", ["jpg", "webp", "png"])
def test_each_format_shows_the_picture(tmp_path: Path, format: str) -> None:  # noqa: A002 - the parameter
    picture().save(tmp_path / "a.png")
    found = thumbnail(tmp_path / "a.png", format=format)
    assert (found.format, found.mode) == ({"jpg": "JPEG"}.get(format, format.upper()), "RGB")
    assert differ(found, picture()) < 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    gray = picture().convert("L")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    image = wide if mode == "I;16" else picture().convert(mode)
    image.save(tmp_path / "image.tif")
    found = thumbnail(tmp_path / "image.tif")
    assert found.mode == "RGB"
    assert differ(found, gray if mode in ("I;16", "L") else image) < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept_but_in_a_jpg_which_shows_the_background(tmp_path: Path, mode: str) -> None:
    clear = picture()
    clear.putalpha(Image.new("L", clear.size, 0))
    image = clear.convert(mode) if mode != "P" else clear.quantize(16)
    image.save(tmp_path / "clear.png")
    for format in ("png", "webp"):  # noqa: A001 - the parameter
        assert np.asarray(thumbnail(tmp_path / "clear.png", format=format))[..., 3].max() == 0
    found = thumbnail(tmp_path / "clear.png", format="jpg", background="#ff0000")
    assert differ(found, Image.new("RGB", found.size, (255, 0, 0))) < 2


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_of_an_animation_the_first_image_counts(tmp_path: Path, name: str) -> None:
    frames = [picture(number) for number in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert differ(thumbnail(tmp_path / name), frames[0]) < 8


def test_a_small_image_keeps_its_size_and_a_box_is_filled_on_one_side(tmp_path: Path) -> None:
    picture(1, 20, 10).save(tmp_path / "small.png")
    picture(1, 400, 40).save(tmp_path / "wide.png")
    picture(1, 40, 4000).save(tmp_path / "high.jpg")
    assert thumbnail(tmp_path / "small.png").size == (20, 10)
    assert thumbnail(tmp_path / "wide.png", size=[8, 40]).size == (40, 4)
    assert thumbnail(tmp_path / "high.jpg", size=[40, 8]).size == (1, 40)


def test_colours_of_a_profile_become_srgb(tmp_path: Path) -> None:
    """Of one whose red is blue, by the names of its tags."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"____", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"____", b"bXYZ", 1)
    red, green, blue = picture().split()
    for name, profile in (("a.png", swapped), ("b.jpg", swapped), ("c.png", srgb), ("d.png", b"no profile")):
        shown = Image.merge("RGB", (blue, green, red)) if profile == swapped else picture()
        picture().save(tmp_path / name, icc_profile=profile)
        assert differ(thumbnail(tmp_path / name), shown) < 4, name


def test_the_same_file_gives_the_same_bytes_from_a_path_and_from_bytes(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    job = Thumbnails(size=SIZE, path="jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    assert job.load({"jpg": data}) == job.load({"jpg": str(tmp_path / "a.jpg")})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it begins as no image does"),
        (bomb(30_000, 30_000), "30000 x 30000 pixels are more than max_pixels, 178956970"),
        (bomb(300, 300), "a.png: cannot be decoded: "),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_no_whole_image_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=message):
        thumbnail(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 0}, "size: 0 is not valid; valid: pixels"),
        ({"size": 20_000}, "size: 20000 is not valid; valid: up to 16383 pixels"),
        ({"format": "jpeg"}, "format: 'jpeg' is not valid; valid: jpg, webp, png"),
        ({"quality": 101}, "quality: 101 is not valid; valid: 1 to 100"),
        ({"background": "white"}, "background: 'white' is not valid; valid: a colour such as \"#ffffff\""),
        ({"folder": "no/such/folder"}, "folder: there is no folder"),
    ],
)
def test_parameters_that_cannot_work_are_refused_when_the_job_is_made(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"job.params: {message}"):
        Thumbnails(**params)

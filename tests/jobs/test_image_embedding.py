"""ImageEmbedding: on real image files through the launcher, and against its model called directly on each image."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from jobs.errors import InputError
from jobs.image_embedding import IMAGENET_MEAN, IMAGENET_STD, ImageEmbedding
from launcher import results
from tests.jobs.embedding.test_torch_model import context
from tests.support.embedding_models import Vision, save_script
from tests.support.launcher_runs import launcher, run_of

WIDTH, HEIGHT = 96, 64
SIZE = 32
VISION: dict[str, Any] = {"model": "tests.support.embedding_models:Vision", "size": SIZE, "crop": 1.0}
# How a camera that was held this way up stores the picture: the inverse of what its EXIF orientation asks for.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(number: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Smooth colours that differ from corner to corner and from number to number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def oriented(image: Image.Image, orientation: int, path: Path) -> Path:
    """A file of the picture as stored by a camera held in this way."""
    stored = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (image if stored is None else image.transpose(stored)).save(path, exif=exif)
    return path


def reference(image: Image.Image) -> np.ndarray:
    """Pixels uint8 [SIZE, SIZE, 3] as torchvision's Resize(SIZE) and CenterCrop(SIZE) make them."""
    width, height = (side * SIZE // min(image.size) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    small = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small.crop((left, top, left + SIZE, top + SIZE)))


def directly(model: torch.nn.Module, images: list[Image.Image]) -> np.ndarray:
    """The model called on one image after another, float32 [n, d]."""
    vectors = []
    for image in images:
        scaled = (reference(image) / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
        pixels = torch.from_numpy(scaled.astype(np.float32).transpose(2, 0, 1).copy())
        with torch.inference_mode():
            vectors.append(model(pixels[None])[0].numpy())
    return np.array(vectors)


# --- through the launcher


def write_images(folder: Path) -> dict[str, Image.Image]:
    """Some files of every kind; returns what each shows, upright."""
    folder.mkdir()
    shown: dict[str, Image.Image] = {}
    for number in range(24):
        shown[f"photo{number:02d}.jpg"] = picture(number)
        shown[f"drawing{number:02d}.png"] = picture(100 + number, WIDTH + number * 4, HEIGHT)
    shown["gray.png"], shown["gray.jpg"] = picture(1).convert("L"), picture(2).convert("L")
    shown["palette.png"] = picture(3).quantize(32)
    shown["ink.jpg"] = picture(4).convert("CMYK")
    shown["glass.png"] = picture(5)
    shown["glass.png"].putalpha(128)
    for name, image in shown.items():
        image.save(folder / name, quality=95) if name.endswith("jpg") else image.save(folder / name)
    for name in [name for name in shown if name.endswith("jpg")]:
        shown[name] = Image.open(folder / name)  # what is left of it after compression
    turned = oriented(picture(6), 6, folder / "turned.png")
    shown[turned.name] = picture(6)
    return shown


def write_config(folder: Path, model: Path, **node: Any) -> Path:
    config = {
        "name": "images",
        "job": {"class": "jobs.image_embedding:ImageEmbedding", "params": {**VISION, "model": model.name}},
        "data": {"manifest": "images/*", "shards": 2},
        "node": {"processes": 2, "workers": 2, "devices": "cpu", "batch_size": 16, **node},
        "executor": "local",
        "local": {"parallelism": 1},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def test_a_run_gives_the_models_embedding_of_every_image_and_a_cut_file_fails_alone(tmp_path: Path) -> None:
    shown = write_images(tmp_path / "images")
    for name in ("photo00.jpg", "drawing00.png"):
        whole = (tmp_path / "images" / name).read_bytes()
        (tmp_path / "images" / f"cut-{name}").write_bytes(whole[: len(whole) // 2])
    torch.manual_seed(2)
    model = Vision()
    config = write_config(tmp_path, save_script(model, tmp_path / "vision.pt"), max_failed_samples=2)
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stdout + done.stderr
    with results.open(run_of(config).path) as found:
        names = [name.removeprefix("images/") for name in found.ids]
        vectors = np.asarray(found["embedding"])
        errors = found.errors
    assert sorted(names) == sorted([*shown, "cut-photo00.jpg", "cut-drawing00.png"])
    ok = [number for number, name in enumerate(names) if name in shown]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[ok], directly(model, [shown[names[n]] for n in ok]), rtol=1e-4, atol=1e-5)
    assert np.isnan(np.delete(vectors, ok, axis=0)).all()
    assert sorted(names[row] for row in errors["row"]) == ["cut-drawing00.png", "cut-photo00.jpg"]
    assert set(errors["kind"]) == {"LOAD"}
    for message in errors["message"]:
        assert "image file is truncated" in message
        assert f"{tmp_path}/images/cut-" in message
        assert "valid: a whole image" in message


# --- single files


def started(**params: Any) -> ImageEmbedding:
    job = ImageEmbedding(**{**VISION, **params})
    job.setup_worker(context())
    job.setup(context())
    return job


def embed(job: ImageEmbedding, paths: list[Path]) -> np.ndarray:
    return np.asarray(job.process(job.collate([job.load({"path": str(path)}) for path in paths]))["embedding"])


@pytest.mark.parametrize("orientation", list(STORED))
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path: Path, orientation: int) -> None:
    path = oriented(picture(), orientation, tmp_path / "photo.png")
    np.testing.assert_array_equal(started().load({"path": str(path)}), reference(picture()))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    gray = picture().convert("L")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    image = wide if mode == "I;16" else gray.convert(mode)
    image.save(tmp_path / "image.png")
    expected = gray if mode == "I;16" else image
    with Image.open(tmp_path / "image.png") as written:
        assert written.mode == mode
    np.testing.assert_array_equal(started().load({"path": str(tmp_path / "image.png")}), reference(expected))


def test_the_bytes_of_a_file_are_the_image_as_the_file_is(tmp_path: Path) -> None:
    picture().save(tmp_path / "image.png")
    data = (tmp_path / "image.png").read_bytes()
    job = ImageEmbedding(**VISION, path="png")
    expected = job.load({"png": str(tmp_path / "image.png")})
    as_datasets_have_it = ({"bytes": data, "path": None}, {"bytes": None, "path": str(tmp_path / "image.png")})
    for value in (data, *as_datasets_have_it):
        assert np.array_equal(job.load({"png": value}), expected)
    with pytest.raises(ValueError, match=r"^50 bytes: cannot be decoded: [^<]*; valid: "):
        job.load({"png": data[:50]})


def test_pixels_whose_range_is_not_known_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((40, 40), np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(
        ValueError, match=r"depth\.tiff: cannot be decoded: the range .*mode F\) is not known; .* 8 or 16 bits"
    ):
        started().load({"path": str(tmp_path / "depth.tiff")})


def test_the_middle_is_used_as_large_as_crop_says_in_the_shape_of_size(tmp_path: Path) -> None:
    inner, frame = picture(1, 48, 24), picture(2, 96, 32)
    frame.paste(inner, (24, 4))  # of the largest middle part of 2 x 1, 64 x 32, three quarters of each side
    frame.save(tmp_path / "framed.png")
    found = started(size=[24, 48], crop=0.75, resample="nearest").load({"path": str(tmp_path / "framed.png")})
    np.testing.assert_array_equal(found, np.asarray(inner))


def test_a_draft_of_a_large_jpeg_shows_nearly_the_same(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    picture(7, 1536, 1024).save(path, quality=95)
    expected = reference(Image.open(path))
    np.testing.assert_array_equal(started().load({"path": str(path)}), expected)
    difference = np.abs(started(draft=True).load({"path": str(path)}).astype(int) - expected)
    assert 0 < difference.mean() < 3
    assert difference.max() < 20


def test_a_draft_of_an_image_that_is_not_much_larger_than_needed_is_the_image(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    found = started(draft=True).load({"path": str(tmp_path / "a.jpg")})
    np.testing.assert_array_equal(found, reference(Image.open(tmp_path / "a.jpg")))


def test_only_bytes_leave_the_workers_and_the_order_stays(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        picture(number).save(path)
    job = started()
    batch = job.collate([job.load({"path": str(path)}) for path in paths])
    assert (batch.dtype, batch.shape) == (np.uint8, (5, SIZE, SIZE, 3))
    together, alone = embed(job, paths), [embed(job, [path])[0] for path in paths]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)


def test_the_memory_format_changes_nothing_and_bfloat16_little(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    plain = embed(started(channels_last=False), [tmp_path / "a.png"])
    np.testing.assert_allclose(embed(started(), [tmp_path / "a.png"]), plain, rtol=1e-4, atol=1e-5)
    coarse = embed(started(dtype="bfloat16"), [tmp_path / "a.png"])
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, plain, atol=0.05)


def test_channels_last_reaches_the_model_as_such(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    model = "tests.support.embedding_models:Layout"
    assert embed(started(model=model), [tmp_path / "a.png"]).tolist() == [[1, 1]]
    assert embed(started(model=model, channels_last=False), [tmp_path / "a.png"]).tolist() == [[0, 0]]


def test_mean_and_std_of_the_colours_can_be_others(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (255, 51, 0)).save(tmp_path / "red.png")
    job = started(model="tests.support.embedding_models:Colour", mean=[0.5, 0.2, 0], std=[0.25, 1, 1])
    np.testing.assert_allclose(embed(job, [tmp_path / "red.png"]), [[2, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jpg: cannot be decoded: it begins as no image does; valid: "),
        (b"<html>404</html>", r"a\.jpg: cannot be decoded: it begins as no image does; valid: "),
        (None, r"No such file or directory: '/.*/a\.jpg'"),
    ],
)
def test_a_file_that_is_no_image_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=message):
        started(folder=tmp_path, path="file").load({"file": "a.jpg"})


def test_a_damaged_png_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[45] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: cannot be decoded: "):
        started().load({"path": str(tmp_path / "a.png")})


# --- timm


def test_without_timm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else found(name))
    with pytest.raises(InputError, match=r"model: timm:vit_small needs the package timm, .*: pip install timm"):
        ImageEmbedding(model="timm:vit_small")


def test_a_name_of_timm_is_a_pretrained_model_without_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for timm, which is too heavy for the tests; what create_model is called with is its interface."""
    (tmp_path / "timm.py").write_text(
        "from tests.support.embedding_models import Vision\n"
        "def create_model(model_name, pretrained=False, **kwargs):\n"
        "    assert (model_name, pretrained, kwargs) == ('vit_small', True, {'num_classes': 0, 'drop_rate': 0.5})\n"
        "    return Vision(d=20)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    picture().save(tmp_path / "a.png")
    job = started(model="timm:vit_small", model_params={"drop_rate": 0.5})
    monkeypatch.delitem(sys.modules, "timm")
    assert embed(job, [tmp_path / "a.png"]).shape == (1, 20)


# --- parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 0}, "size: 0 is not valid; valid: pixels, a number or "),
        ({"size": [224]}, r"size: \[224\] is not valid"),
        ({"size": "224"}, "size: '224' is not valid"),
        ({"crop": 0}, "crop: 0 is not valid; valid: a share over 0, up to 1"),
        ({"crop": 1.1}, "crop: 1.1 is not valid"),
        ({"resample": "cubic"}, "resample: 'cubic' is not valid; valid: bicubic, bilinear, lanczos, box, nearest"),
        ({"mean": [0.5]}, r"mean: \[0.5\] is not valid; valid: 3 numbers from 0 to 1"),
        ({"std": [0, 1, 1]}, "std: 0 is not valid; valid: 3 numbers over 0"),
        ({"dtype": "int8"}, "dtype: 'int8' is not valid; valid: float32, bfloat16, float16"),
        ({"folder": "no/such/folder"}, "folder: there is no folder /.*/no/such/folder"),
        ({"model": "no/such.pt"}, "model: there is no file"),
    ],
)
def test_parameters_that_cannot_work_are_refused_when_the_job_is_made(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"job.params: {message}"):
        ImageEmbedding(**{**VISION, **params})


def test_without_pillow_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '/.*\[image\]'"):
        ImageEmbedding(**VISION)


def test_making_the_job_imports_nothing_heavy() -> None:
    code = f"""
import sys
from jobs.image_embedding import ImageEmbedding
ImageEmbedding(**{VISION!r})
print(sorted({{"torch", "PIL", "tests.support.embedding_models"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


@pytest.fixture
def pillow_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts pillow's own limits back, which are the module's."""
    for name in ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY"):
        monkeypatch.setattr(PngImagePlugin, name, getattr(PngImagePlugin, name))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def job_with(**params: Any) -> ImageEmbedding:
    job = ImageEmbedding(**{**VISION, **params})
    job.setup_worker(context())
    return job


@pytest.mark.usefixtures("pillow_limits")
def test_long_texts_beside_a_picture_do_not_matter_up_to_a_limit_of_the_users(tmp_path: Path) -> None:
    path, text = tmp_path / "a.png", PngImagePlugin.PngInfo()
    text.add_text("history", "x" * 3_000_000, zip=True)
    picture().save(path, pnginfo=text)
    picture().save(tmp_path / "b.png")
    with_text, without = (job_with().load({"path": str(tmp_path / name)}) for name in ("a.png", "b.png"))
    np.testing.assert_array_equal(with_text, without)
    with pytest.raises(ValueError, match=r"a\.png: cannot be decoded: .* \(the parameter max_text\)"):
        job_with(max_text=1 << 20).load({"path": str(path)})


@pytest.mark.usefixtures("pillow_limits")
def test_the_number_of_pixels_has_a_limit_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    Image.MAX_IMAGE_PIXELS = WIDTH * HEIGHT // 3  # pillow's own limit is twice that
    assert job_with(max_pixels=WIDTH * HEIGHT).load({"path": str(path)}).shape == (SIZE, SIZE, 3)
    with pytest.raises(
        ValueError, match=rf"a\.png: cannot be decoded: {WIDTH} x {HEIGHT} pixels are more than max_pixels"
    ):
        job_with(max_pixels=WIDTH * HEIGHT - 1).load({"path": str(path)})

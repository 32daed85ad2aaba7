"""TorchModel: what the parameter model may name, and what is said of what it may not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.embedding.torch_model import TorchModel
from jobs.errors import InputError, OutputError
from jobs.job import Context
from tests.support.embedding_models import Vision, save_script

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def context(seed: int = 0) -> Context:
    return Context(device="cpu", process_index=0, worker_index=None, scratch=Path("unused"), seed=seed)


def loaded(source: str | Path, dtype: Any = "float32", seed: int = 0, **params: Any) -> TorchModel:
    model = TorchModel(str(source), params, dtype)
    model.load(context(seed))
    return model


@pytest.fixture
def script(tmp_path: Path) -> Path:
    torch.manual_seed(9)
    return save_script(Vision(), tmp_path / "vision.pt")


def test_a_torchscript_file_computes_what_it_was_saved_to_compute(script: Path) -> None:
    torch.manual_seed(9)
    with torch.inference_mode():
        expected = Vision()(IMAGES)
    for _ in range(4):
        assert torch.equal(loaded(script)(IMAGES), expected)


def test_a_relative_file_starts_at_the_working_folder(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(script.parent)
    assert torch.equal(loaded(script.name)(IMAGES), loaded(script)(IMAGES))


def test_a_function_is_called_with_its_params_and_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(123)
    first = loaded("tests.support.embedding_models:Vision", d=20)(IMAGES)
    torch.rand(7)
    assert first.shape == (3, 20)
    assert torch.equal(loaded("tests.support.embedding_models:Vision", d=20)(IMAGES), first)
    assert not torch.equal(loaded("tests.support.embedding_models:Vision", d=20, seed=1)(IMAGES), first)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_coarser_dtype_computes_nearly_the_same_and_still_returns_float32(script: Path, dtype: str) -> None:
    coarse = loaded(script, dtype)
    found = coarse(IMAGES.to(coarse.dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loaded(script)(IMAGES), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("source", "params", "message"),
    [
        ("no/such.pt", {}, r"job.params: model: there is no file /.*/no/such\.pt; valid: a TorchScript file"),
        ("nosuchpackage.models:make", {}, "there is no module 'nosuchpackage'"),
        ("tests.nosuchmodule:make", {}, "cannot import tests.nosuchmodule:make"),
        (
            "tests.support.embedding_models:nothing",
            {},
            "cannot import tests.support.embedding_models:nothing .*no attribute",
        ),
        (
            "tests.support.embedding_models:Vision",
            {"depth": 3},
            "model_params: .*Vision: got an unexpected .*; valid: d",
        ),
        ("tests.support.embedding_models:not_a_model", {}, "not_a_model returned int; valid: .*torch.nn.Module"),
    ],
)
def test_what_is_no_model_is_refused_with_what_is_valid(source: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        loaded(source, **params)


def test_params_for_a_torchscript_file_are_refused(script: Path) -> None:
    with pytest.raises(InputError, match=r"model_params: \{'d': 3\} is not valid; valid: none for a TorchScript file"):
        loaded(script, d=3)


def test_weights_without_their_program_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(Vision().state_dict(), path)
    with pytest.raises(InputError, match=r"cannot read .*weights\.pt .*need a factory that loads them"):
        loaded(path)


def test_a_model_that_returns_no_vectors_is_told_its_shape() -> None:
    with pytest.raises(OutputError, match=r"returned shape \[3, 3, 16, 16\] for 3 samples; .*\[3, d\]"):
        loaded("tests.support.embedding_models:two_axes_too_many")(IMAGES)


class Heads(torch.nn.Module):
    """Several outputs, the last of which may lack rows."""

    def __init__(self, lost: int = 0) -> None:
        super().__init__()
        self.lost = lost

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        means = images.mean(dim=(2, 3))
        return {"mean": means.double(), "largest": means.argmax(dim=1)[self.lost :]}


def test_a_model_may_name_several_outputs() -> None:
    found = loaded(f"{__name__}:Heads").outputs("embedding", IMAGES)
    assert {name: (value.dtype, list(value.shape)) for name, value in found.items()} == {
        "mean": (torch.float32, [3, 3]),
        "largest": (torch.int64, [3]),
    }
    vision = loaded("tests.support.embedding_models:Vision")
    assert torch.equal(vision.outputs("embedding", IMAGES)["embedding"], vision(IMAGES))


def test_an_output_that_lacks_rows_is_refused_by_name() -> None:
    with pytest.raises(
        OutputError, match=r"shape \[2\] as 'largest' for 3 samples; valid: a tensor of shape \[3, ...\]"
    ):
        loaded(f"{__name__}:Heads", lost=1).outputs("embedding", IMAGES)

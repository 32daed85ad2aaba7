"""TorchModel: the torch model that the parameter ``model`` of a built-in job names.

It is checked when the job is made, and loaded in the processes alone.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from jobs.errors import InputError, OutputError
from jobs.inputs import bad_parameter, need_one_of
from jobs.job import Context
from jobs.late_annotations import signature_of

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]
VALID = "a TorchScript file (torch.jit.save), or module:function that returns a torch.nn.Module"

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(source: str) -> bool:
    """Whether it is module:function."""
    return bool(_FACTORY.fullmatch(source))


class TorchModel:
    """A model that gives one vector per sample, or several outputs by name.

    ``source`` is the path of a TorchScript file (a relative one starts in the config's folder) or ``module:function``,
    called with ``params``. It computes in ``dtype`` and without gradients, in eval mode.

    Raises InputError for what cannot be a model; with ``load``, for what turns out not to be one.
    """

    def __init__(self, source: str, params: Mapping[str, Any] | None, dtype: Dtype) -> None:
        self._dtype = need_one_of("dtype", dtype, get_args(Dtype))
        self._params = dict(params or {})
        self._source = source
        self._is_factory = is_factory(source)
        if self._is_factory:
            # The top package alone: to find the rest would import it, and what it needs, in every worker.
            package = source.partition(".")[0].partition(":")[0]
            if importlib.util.find_spec(package) is None:
                raise InputError(f"job.params: model: {source}: there is no module {package!r}; valid: {VALID}")
        elif not Path(source).expanduser().is_file():
            raise InputError(
                f"job.params: model: there is no file {Path(source).expanduser().absolute()}; valid: {VALID}"
            )
        elif self._params:
            raise bad_parameter("model_params", self._params, "none for a TorchScript file, which takes no parameters")

    def load(self, context: Context, layout: "torch.memory_format | None" = None) -> None:
        """Makes the model on ``context.device``. A factory with random weights makes the same ones in every process."""
        import torch

        torch.manual_seed(context.seed)
        module = self._made() if self._is_factory else self._read()
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"job.params: model: {self._source} returned {type(module).__name__}; valid: {VALID}")
        self.device, self.dtype = torch.device(context.device), getattr(torch, self._dtype)
        module = module.to(device=self.device, dtype=self.dtype, memory_format=layout)  # type: ignore[call-overload]
        self._module = module.eval()

    def _read(self) -> Any:
        import torch

        try:
            return torch.jit.load(Path(self._source).expanduser(), map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"job.params: model: cannot read {self._source} ({reason}); valid: a file that torch.jit.save wrote. "
                "Weights of torch.save need a factory that loads them: module:function"
            ) from error

    def _made(self) -> Any:
        module_name, _, name = self._source.partition(":")
        try:
            factory = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError, RuntimeError) as error:  # RuntimeError: libraries built for another torch
            raise InputError(f"job.params: model: cannot import {self._source} ({error}); valid: {VALID}") from error
        try:
            signature_of(factory).bind(**self._params)
        except TypeError as error:
            valid = ", ".join(signature_of(factory).parameters) or "none"
            raise InputError(f"job.params: model_params: {self._source}: {error}; valid: {valid}") from None
        return factory(**self._params)

    def __call__(self, first: "torch.Tensor", *rest: "torch.Tensor") -> "torch.Tensor":
        """Vectors float32 [n, d] of n samples; raises OutputError where the model returns something else."""
        return _vectors(self._computed(first, *rest), len(first))

    def outputs(self, name: str, first: "torch.Tensor", *rest: "torch.Tensor") -> "dict[str, torch.Tensor]":
        """Vectors as the output ``name``; or where the model returns a dict, each tensor [n, ...] of it as an output."""
        found = self._computed(first, *rest)
        if not isinstance(found, dict):
            return {name: _vectors(found, len(first))}
        for key, value in found.items():
            if not isinstance(key, str) or not _has_rows(value, len(first)):
                raise _unusable(value, len(first), "...", f" as {key!r}")
        return {key: _in_float32(value) for key, value in found.items()}

    def _computed(self, *given: "torch.Tensor") -> Any:
        import torch

        # TorchScript would compile anew for lengths that it has not seen, and round differently once it has: a first call
        # took 37 ms where this takes 0.5 ms.
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return self._module(*given)


def _vectors(found: Any, rows: int) -> "torch.Tensor":
    if not _has_rows(found, rows) or found.ndim != 2:
        raise _unusable(found, rows, "d")
    return _in_float32(found)


def _has_rows(found: Any, rows: int) -> bool:
    import torch

    return isinstance(found, torch.Tensor) and found.ndim > 0 and len(found) == rows


def _in_float32(found: "torch.Tensor") -> "torch.Tensor":
    return found.float() if found.is_floating_point() else found


def _unusable(found: Any, rows: int, rest: str, name: str = "") -> OutputError:
    form = f"shape {list(found.shape)}" if hasattr(found, "shape") else f"type {type(found).__name__}"
    return OutputError(f"the model returned {form}{name} for {rows} samples; valid: a tensor of shape [{rows}, {rest}]")

"""Tensors: torch's, seen from numpy, in modules that must not import torch: they meet one only where a Job has made it."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# What numpy has of torch's dtypes; the others (bfloat16, float8, complex32 ...) are integers of their size on the way.
_NUMPY_DTYPES = frozenset(
    f"torch.{name}"
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
)
_SAME_SIZE = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


def is_tensor(value: object) -> bool:
    """Whether it is a torch tensor; costs no import: where torch is not loaded there is none."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def can_be_stacked(tensor: Any) -> bool:
    """Whether torch.stack takes its kind: it has none for compressed rows (CSR), nor for nested tensors."""
    torch = sys.modules["torch"]
    return tensor.layout in (torch.strided, torch.sparse_coo) and not tensor.is_nested


def stack_tensors(tensors: Sequence[Any]) -> Any:
    """torch.stack; raises ValueError where it would round whole numbers, which become floats beside floats of any size."""
    stacked = sys.modules["torch"].stack(list(tensors))
    if {tensor.dtype for tensor in tensors} != {stacked.dtype}:
        for tensor, row in zip(tensors, stacked, strict=True):
            if not _is_kept(tensor, row):
                raise ValueError(f"{tensor.dtype} becomes {stacked.dtype} beside others, which rounds whole numbers")
    return stacked


def _is_kept(tensor: Any, row: Any) -> bool:
    if tensor.is_floating_point() or tensor.is_complex():
        return True
    row = row.real if row.is_complex() else row
    return bool((row.to_dense().to(tensor.dtype) == tensor.to_dense()).all())


def is_numpy_dtype(tensor: Any) -> bool:
    """Whether numpy has the tensor's dtype; it has no bfloat16."""
    return str(tensor.dtype) in _NUMPY_DTYPES


def to_numpy(tensor: Any) -> np.ndarray:
    """The values as an array on the host, bfloat16 and float8 as float32; a view where it is on the host already.

    Raises TypeError or RuntimeError for what has no such array: sparse, quantized, nested tensors.
    """
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if not is_numpy_dtype(tensor):
        tensor = tensor.to(sys.modules["torch"].complex64) if tensor.is_complex() else tensor.float()
    array: np.ndarray = tensor.numpy()
    return array


def as_memory(tensor: Any) -> tuple[np.ndarray, str] | None:
    """(its values in the host's memory, the name of its dtype); None for a tensor that is more, or less, than these.

    That is one that is sparse, quantized, nested, on a device, or of a class derived from Tensor.
    """
    torch = sys.modules["torch"]
    if type(tensor) is not torch.Tensor or tensor.device.type != "cpu" or tensor.layout is not torch.strided:
        return None
    if tensor.is_quantized or tensor.is_nested:
        return None
    tensor = tensor.detach().resolve_conj().resolve_neg()
    name = str(tensor.dtype).removeprefix("torch.")
    if not is_numpy_dtype(tensor):
        tensor = tensor.view(getattr(torch, _SAME_SIZE[tensor.element_size()]))
    return tensor.numpy(), name


def from_memory(array: np.ndarray, dtype: str) -> Any:
    """The tensor that ``as_memory`` saw, on the array's memory; imports torch."""
    import torch

    tensor = torch.from_numpy(array)
    return tensor if f"torch.{dtype}" in _NUMPY_DTYPES else tensor.view(getattr(torch, dtype))

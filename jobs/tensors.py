"""Tensors: torch's, seen from numpy, in modules that must not import torch: they meet one only where a Job has made it."""

from typing import Any

import numpy as np


def is_tensor(value: object) -> bool:
    """Whether it is a torch tensor; a look at its type, which costs no import."""
    return hasattr(value, "detach")


def is_numpy_dtype(tensor: Any) -> bool:
    """Whether numpy has the tensor's dtype; it has no bfloat16."""
    return str(tensor.dtype) != "torch.bfloat16"


def to_numpy(tensor: Any) -> np.ndarray:
    """The tensor as an array on the host, bfloat16 as float32; a view of it where it is on the host already."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor if is_numpy_dtype(tensor) else tensor.float()).numpy()
    return array


def from_numpy(array: np.ndarray) -> Any:
    """The array as a tensor on the same memory; imports torch."""
    import torch

    return torch.from_numpy(array)

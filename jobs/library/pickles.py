"""Pickles: Python objects as bytes and large buffers, by value where another process could not find them by name.

Plain pickle does nearly everything, and is the fastest; what it cannot do, and what lives in ``__main__`` (a script, a
notebook, stdin), which no other process has, cloudpickle does.
"""

import io
import pickle
import pickletools
import sys
from collections import ChainMap
from collections.abc import Callable, Sequence
from copyreg import dispatch_table
from dataclasses import dataclass
from typing import Any

from jobs.tensors import from_numpy, is_numpy_dtype

# Arrays from this size on, bytes, are not copied into the pickle; smaller ones are cheaper inside it.
_LARGE = 1 << 14
# pickle and the classes themselves raise all of these for what cannot be pickled.
CANNOT = (
    pickle.PicklingError,
    TypeError,
    AttributeError,
    ValueError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
)
_MAIN = b"_main__"

Reduction = tuple[Callable[..., Any], tuple[Any, ...]]
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Packed:
    """A pickle, and the large buffers that belong to it."""

    data: bytes
    buffers: Sequence[memoryview]


def pack(value: Any) -> Packed:
    """Pickles ``value``; raises one of CANNOT."""
    try:
        packed = _pickle(pickle.Pickler, value)
    except CANNOT:
        return pack_by_value(value)
    return pack_by_value(value) if _MAIN in packed.data else packed


def pack_by_value(value: Any) -> Packed:
    """The same with cloudpickle: functions and classes that no module has travel with it."""
    import cloudpickle

    main = sys.modules["__main__"]
    if main.__name__ != "__main__":  # in a process that multiprocessing spawned
        cloudpickle.register_pickle_by_value(main)
    return _pickle(cloudpickle.Pickler, value)


def _pickle(pickler_class: Any, value: Any) -> Packed:
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    pickler = pickler_class(file, protocol=5, buffer_callback=keep)
    if torch := sys.modules.get("torch"):
        table = getattr(pickler_class, "dispatch_table", dispatch_table)
        pickler.dispatch_table = ChainMap({torch.Tensor: _reduce_tensor}, table)
    pickler.dump(value)
    return Packed(file.getvalue(), buffers)


def _reduce_tensor(tensor: Any) -> Reduction | Any:
    """A tensor on the CPU is an array on the way: torch's own pickles copy it several times."""
    plain = tensor.device.type == "cpu" and str(tensor.layout) == "torch.strided" and not tensor.is_conj()
    if not plain or tensor.is_quantized or tensor.is_neg() or not is_numpy_dtype(tensor):
        return tensor.__reduce_ex__(5)
    return _tensor, (tensor.detach().numpy(), tensor.requires_grad)


def _tensor(array: Any, requires_grad: bool) -> Any:
    return from_numpy(array).requires_grad_(requires_grad)


def unpack(data: Buffer, buffers: Sequence[Buffer]) -> Any:
    """What was packed; arrays lie in ``buffers``. Raises whatever unpickling it raises."""
    return pickle.loads(data, buffers=buffers)


def modules_named(data: bytes) -> list[str]:
    """The modules loaded here that a pickle names: its reader will import most of them."""
    words = {arg for opcode, arg, _ in pickletools.genops(data) if isinstance(arg, str) and "UNICODE" in opcode.name}
    return sorted(word for word in words & sys.modules.keys() if word not in ("__main__", "builtins"))


def where_it_fails(value: Any) -> str:
    """For messages: which part of an object or function cannot be pickled; empty where that is not found."""
    closure = getattr(value, "__closure__", None) or ()
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    parts = {f"the variable {name!r}": cell.cell_contents for name, cell in zip(names, closure, strict=False)}
    used = getattr(getattr(value, "__code__", None), "co_names", ())
    known = getattr(value, "__globals__", {})
    parts |= {f"the global variable {name!r}": known[name] for name in used if name in known}
    parts |= {f"the attribute {name!r}": part for name, part in getattr(value, "__dict__", {}).items()}
    for name, part in parts.items():
        try:
            pack(part)
        except CANNOT:
            return f"{name} (a {type(part).__name__})"
    return ""

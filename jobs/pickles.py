"""Pickles: Python objects as bytes and large buffers, by value where another process could not find them by name.

Plain pickle does nearly everything, and is the fastest; what it cannot do, and what lives in ``__main__`` (a script, a
notebook, stdin), which no other process has, cloudpickle does. A pickle is a copy: torch's own way between processes,
which multiprocessing's pickles take, would share memory that its owner goes on writing to.

The classes of what is pickled may raise anything at all, here and where it is unpickled.
"""

import io
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from copyreg import dispatch_table
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from jobs.errors import a_type
from jobs.late_annotations import as_text
from jobs.tensors import as_memory, from_memory

# Arrays from this size on, bytes, are not copied into the pickle; smaller ones are cheaper inside it.
_LARGE = 1 << 14
_MAIN = b"_main__"

Reduction = tuple[Callable[..., Any], tuple[Any, ...]]
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Packed:
    """A pickle, and the large buffers that belong to it. Inside another pickle it stays one."""

    data: Buffer
    buffers: Sequence[Buffer]

    def __reduce_ex__(self, protocol: object) -> Reduction:
        return Packed, (pickle.PickleBuffer(self.data), [pickle.PickleBuffer(buffer) for buffer in self.buffers])

    @property
    def own(self) -> "Packed":
        """The same, which shares no memory with the objects that were packed."""
        return Packed(self.data, [bytearray(buffer) for buffer in self.buffers])

    def load(self) -> Any:
        """What was packed; arrays lie in the buffers. Raises whatever unpickling it raises."""
        return pickle.loads(self.data, buffers=self.buffers)


def pack(value: Any) -> Packed:
    """Pickles ``value``, whose large buffers are its own memory; raises whatever pickling raises."""
    try:
        packed = _pickle(pickle.Pickler, value)
    except Exception:
        return pack_by_value(value)
    return pack_by_value(value) if _MAIN in bytes(packed.data) else packed


def pack_by_value(value: Any) -> Packed:
    """The same with cloudpickle: functions and classes that no module has travel with it."""
    import cloudpickle

    main = sys.modules["__main__"]
    if main.__name__ != "__main__":  # in a process that multiprocessing spawned
        cloudpickle.register_pickle_by_value(main)

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if not isinstance(value, FunctionType):
                return super().reducer_override(value)
            with as_text(value):  # cloudpickle takes their values
                return super().reducer_override(value)

    return _pickle(ByValue, value)


def _pickle(pickler_class: Any, value: Any) -> Packed:
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    _dump(pickler_class(file, protocol=5, buffer_callback=keep), value)
    return Packed(file.getvalue(), buffers)


def pickled(value: Any) -> bytes:
    """``value`` by plain pickle, all of it in one piece; raises whatever pickling raises."""
    file = io.BytesIO()
    _dump(pickle.Pickler(file, protocol=5), value)
    return file.getvalue()


def _dump(pickler: Any, value: Any) -> None:
    if torch := sys.modules.get("torch"):
        table = getattr(type(pickler), "dispatch_table", None)
        known: Any = table if isinstance(table, Mapping) else dispatch_table
        pickler.dispatch_table = ChainMap({getattr(torch, "Tensor", None): _reduce_tensor}, known)
    pickler.dump(value)


def _reduce_tensor(tensor: Any) -> Reduction | Any:
    """A tensor is its memory on the way, where it is no more than that: torch's own pickles copy it several times."""
    memory = as_memory(tensor)
    return (_tensor, (*memory, tensor.requires_grad)) if memory else tensor.__reduce_ex__(5)


def _tensor(array: Any, dtype: str, requires_grad: bool) -> Any:
    return from_memory(array, dtype).requires_grad_(requires_grad)


def modules_named(data: Buffer) -> list[str]:
    """The modules loaded here that a pickle names: its reader will import most of them."""
    import pickletools  # array tasks need it never

    words = {
        arg for opcode, arg, _ in pickletools.genops(bytes(data)) if isinstance(arg, str) and "UNICODE" in opcode.name
    }
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
        except Exception:
            return f"{name} ({a_type(part)})"
    return ""

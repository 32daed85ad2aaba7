"""Generators, seeded before every piece by the loader and the process, and seeds of samples: random Jobs are repeatable.

numpy's costs 10 ms to import, a tenth of a small array task, and most Jobs do not draw from it: it is seeded at the
moment when something imports it.
"""

import random
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import xxhash

# What holds numpy's global generator; numpy.random takes its functions from there.
_NUMPY = "numpy.random.mtrand"
# Some engines take the highest numbers of 32 bits for "at random".
_SEED_BITS = 0x7FFFFFFF


class _SeedsAtImport:
    """Finds numpy's generator as Python would, and has it seeded as soon as it is there."""

    value = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == _NUMPY else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_seed(module: ModuleType) -> None:
            execute(module)
            module.seed(self.value)

        spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec


_at_import = _SeedsAtImport()


def seed_generators(seed: int, row: int) -> None:
    """Seeds Python's, numpy's and (where it is loaded) torch's generators for the piece that begins at the row."""
    value = hash((seed, row)) & 0xFFFFFFFF
    random.seed(value)
    if generator := sys.modules.get(_NUMPY):
        generator.seed(value)
    else:
        _at_import.value = value
        if _at_import not in sys.meta_path:
            sys.meta_path.insert(0, _at_import)
    torch = sys.modules.get("torch")
    if torch:
        # torch.manual_seed formats a stack trace at each call, which is 100 times slower.
        torch.default_generator.manual_seed(value)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(value)


def sample_seed(seed: int, row: int) -> int:
    """What ``process_sample`` gets for a row in a run with this seed; what it is for a row must never change."""
    return xxhash.xxh3_64_intdigest(f"{seed}:{row}".encode()) & _SEED_BITS

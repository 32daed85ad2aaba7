"""What crosses a process border arrives as it was, or fails alone: any item, batch and output, below and above a slot's pickle.

hypothesis draws what a Job gets and returns; a direct call of the Job says what is right, and the same Job in a Hierarchy
without workers, with one and with three, whose process computes or waits, must say the same.
"""

import math
import random
import time
from collections import OrderedDict, UserDict, UserList, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import Hierarchy, Job
from jobs.errors import SampleFailed
from tests.support.examples import examples

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support", "ignore:.*sparse.*")

SAMPLES, BATCH = 12, 4
Pair = namedtuple("Pair", "first second")


class Markup(str):
    """As parsers of XML give."""


class Blob(bytes):
    """The same of bytes."""


@dataclass
class Record:
    value: Any
    others: list[Any] = field(default_factory=list)


# --- leaves: value of number n, in two sizes: a few elements, and more than what travels in a message

KIND = np.dtype([("a", "<i4"), ("b", "<f4", (2,)), ("c", "S3")])
DTYPES = ("u1", "<f4", ">i4", "?", "<c16", "<f2", "M8[s]", "m8[D]", "S5", "<U4", "O", KIND)
TENSORS = ("float32", "bfloat16", "float16", "int64", "bool", "complex64", "complex32", "float8_e4m3fn", "uint8")
ERRORS = (ValueError, OSError, EOFError, ConnectionResetError, KeyError, RuntimeError, AttributeError)


def array(dtype: Any, number: int, size: int) -> Any:
    kind = np.dtype(dtype)
    if kind.names:
        found = np.zeros(size, kind)
        found["a"], found["b"], found["c"] = number, number / 2, b"%d" % number
        return found
    numbers = np.arange(number, number + size) % 100
    return numbers.astype("m8[s]" if kind.kind == "M" else kind).astype(kind)


def tensor(name: str, number: int, size: int) -> Any:
    return (torch.arange(number, number + size) % 8).to(torch.float32).to(getattr(torch, name))


LEAVES: dict[str, Callable[[int, int], Any]] = {
    **{f"array {dtype}": partial(array, dtype) for dtype in DTYPES},
    **{f"tensor {name}": partial(tensor, name) for name in TENSORS},
    "strided": lambda n, size: np.arange(n, n + 2 * size)[::2],
    "empty": lambda n, size: np.zeros((0, 3), np.int16),
    "masked": lambda n, size: np.ma.array(np.arange(n, n + size), mask=np.arange(size) % 2 == 0),
    "conjugated": lambda n, size: torch.full((size,), n + 1j).conj(),
    "negated": lambda n, size: torch.full((size,), n + 1j).conj().imag,
    "sparse": lambda n, size: torch.eye(3).mul(n).to_sparse(),
    "parameter": lambda n, size: torch.nn.Parameter(torch.full((size,), float(n))),
    "text": lambda n, size: f"é{n}" * size,
    "markup": lambda n, size: Markup(f"<{n}>" * size),
    "half a character": lambda n, size: f"\ud800{n}" * size,
    "bytes": lambda n, size: bytes([n]) * size,
    "blob": lambda n, size: Blob(bytes([n]) * size),
    "number": lambda n, size: n,
    "large number": lambda n, size: 2**64 + n,
    "none": lambda n, size: None,
    "set": lambda n, size: {n, "x" * size},
}

CONTAINERS: dict[str, Callable[[Any, Any], Any]] = {
    "alone": lambda a, b: a,
    "dict": lambda a, b: {"a": a, "b": b},
    "ordered": lambda a, b: OrderedDict(b=a, a=b),
    "user dict": lambda a, b: UserDict(a=a, b=[b]),
    "user list": lambda a, b: UserList([a, b]),
    "list": lambda a, b: [a, [b]],
    "tuple": lambda a, b: (a, (b,)),
    "named": lambda a, b: Pair(a, b),
    "record": lambda a, b: Record(a, [b, (a,)]),
}


def plain(value: Any) -> Any:
    """The value in words that == can compare: type, form and every bit that counts."""
    match value:
        case torch.Tensor():
            dense = value.detach().to_dense().resolve_conj().resolve_neg()
            bits = torch.cat([dense.reshape(-1)]).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
            return ("tensor", str(value.dtype), str(value.layout), tuple(value.shape), value.requires_grad, bits)
        case np.ma.MaskedArray():
            return ("masked", value.dtype.str, value.filled(0).tobytes(), value.mask.tobytes())
        case np.ndarray() if value.dtype.names:
            return ("array", value.dtype.descr, [plain(value[name]) for name in value.dtype.names])
        case np.ndarray() if value.dtype.hasobject:
            return ("array", value.dtype.str, value.tolist())
        case np.ndarray() | np.generic():
            native = value.dtype.newbyteorder("=")
            return ("array", native.str, value.shape, value.astype(native).tobytes())
        case dict() | UserDict():
            return (type(value).__name__, [(key, plain(item)) for key, item in value.items()])
        case list() | tuple() | UserList():
            return (type(value).__name__, [plain(item) for item in value])
        case Record():
            return ("Record", plain(value.value), plain(value.others))
        case float():
            return ("nan",) if math.isnan(value) else value
    return (type(value).__name__, value)


class Grenade:
    """Goes off where it is pickled, or where it is unpickled."""

    def __init__(self, error: type[Exception], when: str) -> None:
        self.error, self.when = error, when

    def __reduce__(self) -> Any:
        if self.when == "pickled":
            raise self.error("goes off")
        return explode, (self.error,)


def explode(error: type[Exception]) -> NoReturn:
    raise error("goes off")


@dataclass(frozen=True)
class Plan:
    """What the Job does with its samples."""

    leaves: tuple[str, str]
    inside: str
    outside: str
    size: int
    reuses: bool
    bad: int | None
    error: type[Exception]
    where: str


class Crosser(Job):
    """Follows the plan that each sample brings along; ``waits``: process() does, so that others store meanwhile."""

    def __init__(self, waits: bool) -> None:
        self._pause = 0.01 if waits else 0.0
        self._kept: Any = None
        self._buffers: dict[str, Any] = {}

    def load(self, sample: dict[str, Any]) -> Any:
        plan, number = sample.pop("plan"), sample.pop("number")
        if plan.bad == number and plan.where == "load":
            raise plan.error("goes off")
        a, b = (LEAVES[name](number, plan.size) for name in plan.leaves)
        if plan.bad == number and plan.where in ("pickled", "unpickled"):
            a = Grenade(plan.error, plan.where)
        return plan, number, CONTAINERS[plan.inside](a, b)

    def collate(self, items: list[Any]) -> Any:
        plan = items[0][0]
        values = [item for _, _, item in items]
        numbers = [number for _, number, _ in items]
        return plan, CONTAINERS[plan.outside](values, self._again(plan, "collate", numbers))

    def _again(self, plan: Plan, name: str, numbers: list[int]) -> Any:
        """The numbers as a tensor and an array: in buffers that are used again for the next batch."""
        buffers = self._buffers.setdefault(name, (torch.zeros(BATCH, dtype=torch.bfloat16), np.zeros(BATCH)))
        found = []
        for buffer in buffers:
            part = buffer[: len(numbers)]
            part[:] = torch.tensor(numbers) if buffer is buffers[0] else numbers
            found.append(part)
        return found

    def process(self, batch: Any) -> Any:
        plan, collated = batch
        if self._pause:
            time.sleep(self._pause)
        values, (tensors, arrays) = _parts(plan.outside, collated)
        numbers = [int(number) for number in arrays]
        if plan.bad in numbers and plan.where == "process":
            raise plan.error("goes off")
        outputs = {
            "number": self._again(plan, "process", numbers)[1],
            "tensor": self._again(plan, "other", [int(number) for number in tensors.float()])[0],
            "seen": [plain(value) for value in values],
            "value": UserList(values) if plan.size % 2 else values,
        }
        return UserDict(outputs) if plan.reuses else outputs


def _parts(outside: str, collated: Any) -> tuple[Any, Any]:
    match outside:
        case "dict":
            return collated["a"], collated["b"]
        case "ordered":
            return collated["b"], collated["a"]
        case "user dict":
            return collated["a"], collated["b"][0]
        case "list" | "tuple":
            return collated[0], collated[1][0]
        case "record":
            return collated.value, collated.others[0]
    return collated[0], collated[1]


plans = st.builds(
    Plan,
    leaves=st.tuples(st.sampled_from(sorted(LEAVES)), st.sampled_from(sorted(LEAVES))),
    inside=st.sampled_from(sorted(CONTAINERS)),
    outside=st.sampled_from(sorted(CONTAINERS.keys() - {"alone"})),
    size=st.sampled_from([1, 2, 1500]),
    reuses=st.booleans(),
    bad=st.none() | st.integers(0, SAMPLES - 1),
    error=st.sampled_from(ERRORS),
    where=st.sampled_from(["load", "pickled", "unpickled", "process"]),
)


def directly(plan: Plan) -> list[Any]:
    """What a Job gives that is called sample by sample; None where it fails, or what cannot cross must not."""
    job = Crosser(waits=False)
    found: list[Any] = []
    for number in range(SAMPLES):
        if plan.bad == number:
            found.append(None)
            continue
        outputs = job.process(job.collate([job.load({"plan": plan, "number": number})]))
        found.append((number, number, outputs["seen"][0], plain(outputs["value"][0])))
    return found


def through(hierarchy: Hierarchy, plan: Plan) -> list[Any]:
    samples = [{"plan": plan, "number": number} for number in range(SAMPLES)]
    found: list[Any] = []
    for result in hierarchy.map(samples, on_error="return"):
        if isinstance(result, SampleFailed):
            assert "goes off" in str(result), str(result)
            found.append(None)
        else:
            number, other = int(result["number"]), int(result["tensor"])
            found.append((number, other, result["seen"], plain(result["value"])))
    return found


@pytest.fixture(scope="module", params=[(0, False), (1, True), (3, False)], ids=["alone", "one waits", "three"])
def hierarchy(request: pytest.FixtureRequest) -> Iterator[Hierarchy]:
    workers, waits = request.param
    with Hierarchy(Crosser(waits), devices=["cpu"], workers=workers, batch_size=BATCH) as made:
        yield made


@settings(max_examples=examples(15), suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_what_crosses_is_what_a_direct_call_gives(hierarchy: Hierarchy, plan: Plan) -> None:
    assert through(hierarchy, plan) == directly(plan)


def test_every_leaf_crosses_in_every_container(hierarchy: Hierarchy) -> None:
    """Those that hypothesis has not drawn: each leaf once, beside another one, in containers that change."""
    drawn = random.Random(7)
    names = sorted(LEAVES)
    for at, name in enumerate(names):
        inside, outside = drawn.choice(sorted(CONTAINERS)), drawn.choice(sorted(CONTAINERS.keys() - {"alone"}))
        plan = Plan((name, names[at - 1]), inside, outside, 1500, True, None, ValueError, "load")
        assert through(hierarchy, plan) == directly(plan)

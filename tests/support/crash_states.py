"""What a crash of the machine may leave on disk: of recorded calls, those that were not synced in any combination.

The model is weaker than any file system: what fsync of a file has not covered may be there, missing, torn or zeroed, and each
name that fsync of its folder has not covered may be there or not, in any order (as in Pillai et al., All File Systems Are Not
Created Equal, OSDI 2014; Mohan et al., CrashMonkey, OSDI 2018). A rename is done or not.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.support.disk_calls import Call

KEPT, DROPPED, TORN, ZEROED = "kept", "dropped", "torn", "zeroed"
FATES = (KEPT, DROPPED, TORN, ZEROED)
"""What may become of a write that was not synced. Of a change of names, only the first two."""


@dataclass(eq=False)
class Inode:
    """A file, or (``content`` None) a folder: what is durable of it. ``waiting``: writes, or changes of names."""

    content: bytearray | None = None
    waiting: list[Call] = field(default_factory=list)
    names: dict[str, "Inode"] = field(default_factory=dict)
    changes: list["Change"] = field(default_factory=list)

    @property
    def is_folder(self) -> bool:
        return self.content is None


@dataclass(eq=False)
class Change:
    """Names of one folder that appear (with their inode) or vanish (None) together."""

    names: dict[str, Inode | None]


Item = tuple[Inode, Call | Change]


class Disk:
    """The files below ``root`` after some calls: what is durable, and what is waiting to be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = Inode()
        self._live: dict[str, Inode] = {str(root): self._top}

    def apply(self, call: Call) -> None:
        """The next call."""
        match call.kind:
            case "c":
                self._appear(call.path, Inode(bytearray()))
            case "m":
                self._appear(call.path, Inode())
            case "r" | "l":
                self._rename(call)
            case "u" | "d":
                self._live.pop(call.path, None)
                self._change(call.path, {_name(call.path): None})
            case "w" | "t":
                if inode := self._live.get(call.path):
                    inode.waiting.append(call)
            case "s":
                self._sync(call.path)

    def _appear(self, path: str, inode: Inode) -> None:
        self._live[path] = inode
        self._change(path, {_name(path): inode})

    def _rename(self, call: Call) -> None:
        inode = self._live.get(call.path)
        if inode is None:
            return
        self._live[call.other] = inode
        if call.kind == "l":
            self._change(call.other, {_name(call.other): inode})
            return
        del self._live[call.path]
        for path in [path for path in self._live if path.startswith(f"{call.path}/")]:
            self._live[call.other + path.removeprefix(call.path)] = self._live.pop(path)
        self._change(call.path, {_name(call.path): None, _name(call.other): inode})

    def _change(self, path: str, names: dict[str, Inode | None]) -> None:
        folder = self._live.get(str(PurePosixPath(path).parent))
        if folder is not None:
            folder.changes.append(Change(names))

    def _sync(self, path: str) -> None:
        inode = self._live.get(path)
        if inode is None:
            return
        if inode.content is not None:
            inode.content = _written(inode.content, inode.waiting, itertools.repeat(KEPT))
        _renamed(inode.names, inode.changes)
        inode.waiting, inode.changes = [], []

    def waiting(self) -> list[Item]:
        """All that is not durable, of files that have a name now or may have one after a crash."""
        found: list[Item] = []
        seen: set[Inode] = set()
        rest = [self._top, *self._live.values()]
        while rest:
            inode = rest.pop()
            if inode in seen:
                continue
            seen.add(inode)
            found += [(inode, change) for change in inode.changes]
            found += [(inode, call) for call in inode.waiting]
            rest += inode.names.values()
            rest += [one for change in inode.changes for one in change.names.values() if one]
        return found

    def crash(self, fates: Sequence[str]) -> dict[str, bytes | None]:
        """The paths below the root, and their bytes (None: a folder), where each of ``waiting`` has its fate."""
        chosen = {id(item): fate for (_, item), fate in zip(self.waiting(), fates, strict=True)}
        found: dict[str, bytes | None] = {}
        self._collect(self._top, "", chosen, found)
        return found

    def _collect(self, folder: Inode, above: str, chosen: dict[int, str], found: dict[str, bytes | None]) -> None:
        names = dict(folder.names)
        _renamed(names, [change for change in folder.changes if chosen[id(change)] != DROPPED])
        for name, inode in sorted(names.items()):
            path = f"{above}{name}"
            if inode.content is None:
                found[path] = None
                self._collect(inode, f"{path}/", chosen, found)
            else:
                found[path] = bytes(_written(inode.content, inode.waiting, (chosen[id(c)] for c in inode.waiting)))


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _renamed(names: dict[str, Inode], changes: Iterable[Change]) -> None:
    for change in changes:
        for name, inode in change.names.items():
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode


def _written(content: bytearray, calls: Iterable[Call], fates: Iterable[str]) -> bytearray:
    found = bytearray(content)
    for call, fate in zip(calls, fates, strict=False):
        if fate == DROPPED:
            continue
        if call.kind == "t":
            del found[call.size :]
            found.extend(bytes(call.size - len(found)))
            continue
        data = {KEPT: call.data, TORN: call.data[: len(call.data) // 2], ZEROED: bytes(len(call.data))}[fate]
        found.extend(bytes(max(0, call.offset + len(data) - len(found))))
        found[call.offset : call.offset + len(data)] = data
    return found


def fates_of(items: Sequence[Item], dice: random.Random, most: int) -> Iterator[tuple[str, ...]]:
    """Every combination where there are few; else each extreme, each single exception to them, and some at random."""
    choices = [FATES if isinstance(item, Call) and item.kind == "w" else FATES[:2] for _, item in items]
    total = 1
    for one in choices:
        total *= len(one)
        if total > most:
            break
    else:
        yield from itertools.product(*choices)
        return
    extremes = [tuple(fate if fate in one else KEPT for one in choices) for fate in (DROPPED, ZEROED, TORN, KEPT)]
    single = [
        (*base[:at], fate, *base[at + 1 :])
        for base in (extremes[0], extremes[-1])
        for at, one in enumerate(choices)
        for fate in one
        if fate != base[at]
    ]
    dice.shuffle(extremes)
    dice.shuffle(single)
    chance = (tuple(dice.choice(one) for one in choices) for _ in range(most))
    for three in itertools.islice(itertools.zip_longest(extremes, single, chance), most):
        yield from filter(None, dice.sample(three, 3))


def crash_states(
    calls: Sequence[Call], root: Path, dice: random.Random, most: int, done: int = 0
) -> Iterator[tuple[int, dict[str, bytes | None]]]:
    """Different states after each number of calls, ``most`` in all, about as many of each; each with that number.

    Where there are more calls than that, those of some numbers, all over. ``done``: only states after more calls than so many.
    """
    disk, seen = Disk(root), set[int]()
    for number, call in enumerate(calls, start=1):
        disk.apply(call)
        share = -(-most * (number - done) // (len(calls) - done)) - len(seen)
        for fates in itertools.islice(fates_of(disk.waiting(), dice, share), share) if share > 0 else ():
            state = disk.crash(fates)
            key = hash(tuple(sorted((path, data) for path, data in state.items() if data is not None)) + tuple(state))
            if key not in seen and len(seen) < most:
                seen.add(key)
                yield number, state


def restore(state: dict[str, bytes | None], root: Path) -> None:
    """Makes the files of a state; ``root`` is an empty folder."""
    for path, data in state.items():
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)

"""Mutations of good examples, for fuzzing: of bytes, and of JSON whose values are others."""

import copy
import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

_TOKENS = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\n", b"\r", b"\r\n", b"\t", b"{", b"}", b"[", b"]", b":", b",", b"|",
    b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"null", b"true", b"9" * 400, b"9" * 5000, b"18446744073709551616", b"%s",
    b"&a [*a, *a]", b"*a", b"!!python/object/apply:os.system", b"<<: ", b"${HOME}", "²".encode(), "\u202e".encode(),
    "💩".encode(), b"\xed\xa0\x80", b"- ", b"? ", b"---\n", b"...", b"#", b"[0-9999999]", b"_[3-7,9%4]", b"../" * 9,
    b"[" * 3000,
]  # fmt: skip
_NUMBER = re.compile(rb"\d+")
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", "0", "x" * 3000,
    "\0", "\udc80", "é", [], [[]], [0], [[0, 10**12]], [["a", "b"]], {}, {"a": None}, "../../etc", "2024-01-01", "1-3,9",
]  # fmt: skip


def mutated(dice: random.Random, examples: Sequence[bytes]) -> bytes:
    """One of the examples with one change, or some."""
    data = bytearray(dice.choice(examples))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((1, 1, 2, 8, 64)))
        match dice.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.randrange(256)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * dice.choice((1, 2, 50))
            case 4:
                del data[at:]
            case 5:
                data[at:at] = dice.choice(_TOKENS)
            case 6:
                other = dice.choice(examples)
                data[at:] = other[dice.randrange(len(other) + 1) :]
            case _:
                if found := list(_NUMBER.finditer(data)):
                    match = dice.choice(found)
                    data[match.start() : match.end()] = dice.choice((b"0", b"-1", b"9" * 25, b"1e9", b"3.7", b"00"))
    return bytes(data)


def mutated_value(dice: random.Random, value: Any) -> Any:
    """A JSON value in which one or two of those within are others, or gone, or twice there."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2))):
        places = list(_places(value))
        if not places:
            return dice.choice(VALUES)
        holder, key = dice.choice(places)
        match dice.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = copy.deepcopy(
                    holder[dice.choice(list(holder))] if isinstance(holder, dict) else holder[0]
                )
            case 2 if isinstance(holder[key], int):
                holder[key] += dice.choice((-1, 1, 7, 10**6))
            case _:
                holder[key] = copy.deepcopy(dice.choice(VALUES))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each (dict or list, key) below a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def mutated_json(dice: random.Random, examples: Sequence[bytes]) -> bytes:
    """A JSON file with other values, or other bytes."""
    if dice.random() < 0.3:
        return mutated(dice, examples)
    return json.dumps(mutated_value(dice, json.loads(dice.choice(examples)))).encode()

"""Nearest: the valid names that are most like one that is not, and how a message asks whether they were meant."""

from collections.abc import Collection, Iterable, Sequence


def nearest(name: str, valid: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """At most ``most`` of the valid names, best first; ``cutoff`` is how alike they must be, 0 to 1."""
    import difflib  # takes 0.5 ms, and only a mistake comes here

    return difflib.get_close_matches(name, list(valid), most, cutoff)


def guess(name: str, valid: Collection[str]) -> str:
    """What ends a clause about a name that is not valid: the one that is most like it, or where none is, all."""
    return did_you_mean(nearest(name, valid)) or f"; valid: {', '.join(valid)}"


def did_you_mean(names: Sequence[str], *, as_sentence: bool = False) -> str:
    """``; did you mean a or b?``, which ends a clause, or `` Did you mean a or b?``; empty without names."""
    if not names:
        return ""
    return f"{' Did' if as_sentence else '; did'} you mean {' or '.join(names)}?"

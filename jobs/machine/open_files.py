"""Open files: how many a supervisor may have: two for each child are more than the usual 1024 on a node with 512 CPUs."""

import resource

# As much as any node needs: some systems allow a billion, and what is prepared for them all takes memory.
_ENOUGH = 1 << 16
_before: tuple[int, int] | None = None


def allow_many() -> None:
    """Raises the limit of this process as far as it may."""
    global _before
    _before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _ENOUGH:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_ENOUGH if hard < 0 else min(_ENOUGH, hard), hard))


def allow_as_before() -> None:
    """In a fork: programs that the limit was made for get it back; some cannot have files of higher numbers (select(2))."""
    if _before:
        resource.setrlimit(resource.RLIMIT_NOFILE, _before)

"""Deadline: a limit for calls that may never return: to a dead file server, to a peer that answers a byte a minute."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Found = TypeVar("_Found")


def begun(call: Callable[[], _Found]) -> "Future[_Found]":
    """A call that goes on while other things are done; nobody waits for its end but who wants what it returns."""
    answer: Future[_Found] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        # It is raised where somebody waits for the answer, all of it: what panics in Rust is no Exception.
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer


def within(seconds: float, call: Callable[[], _Found]) -> _Found:
    """What a call returns or raises; raises TimeoutError where that takes longer, and leaves the call behind."""
    return begun(call).result(timeout=seconds)

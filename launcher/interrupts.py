"""Interrupts: Ctrl-C and other requests to stop, while a command has processes to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


class Interrupts:
    """While open, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt, later ones only where they are ``raised``.

    Elsewhere a second one, which may come at any moment after the first, would end the launcher and leave behind what it
    started. In a thread that is not the main one signals are not to be had, and nothing changes.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._is_raising = True
        self._is_waiting = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_main else ():
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's background
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        self._is_waiting = not self._is_raising
        if self._is_raising:
            # Before the raise: a second signal may come while the first one's exception unwinds, and is only noted then.
            self._is_raising = False
            raise KeyboardInterrupt

    @contextmanager
    def raised(self) -> Iterator[None]:
        """In here they raise KeyboardInterrupt; one that came before does so at once."""
        # In this order: a signal between the two lines raises. Had one looked first, it would be noted and wait for ever.
        self._is_raising = True
        try:
            if self._is_waiting:
                self._is_waiting = False
                raise KeyboardInterrupt
            yield
        finally:
            self._is_raising = False

"""Stages: what a Job does with some samples, one step after another, each with its time, what it returned or how it failed."""

import asyncio
import contextlib
import contextvars
import inspect
import os
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from jobs.errors import described
from jobs.job_folder import without_timer
from jobs.tracebacks import own_frames
from launcher.tryout.described import Described, describe

_OURS = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/"

# Where a coroutine has the event loop to itself for so long, seconds, others would notice; and how often that is looked at.
_HELD_UP = 0.1
_TICK = 0.01

Show: TypeAlias = Callable[[Any], Iterable[Described]]


@dataclass(frozen=True)
class Stage:
    """One step; ``sample`` is the one that it was of, where it was of one. ``error``: what it raised, and ``traceback``.

    ``held_up``: for how many seconds on end a coroutine of a sample kept the event loop from all others.
    """

    name: str
    seconds: float
    sample: str | None = None
    returned: tuple[Described, ...] = ()
    error: str | None = None
    traceback: str | None = None
    held_up: float = 0.0

    @property
    def lines(self) -> list[str]:
        if self.held_up < _HELD_UP:
            return self._told
        why = "no other sample goes on meanwhile; await what waits, or call it by asyncio.to_thread"
        return [*self._told, f"  the event loop was held up for {self.held_up:.1f} s: {why}"]

    @property
    def _told(self) -> list[str]:
        head = f"{self.name}{(self.sample and f' {self.sample}') or ''}: {self.seconds:.3f} s"
        if self.error:
            return [f"{head}, raised", *(self.traceback or self.error).splitlines()]
        if len(self.returned) == 1 and not self.returned[0].name:
            return [f"{head} -> {self.returned[0]}"]
        return [head, *(f"  {one}" for one in self.returned)]

    def to_json(self) -> dict[str, Any]:
        failure = {"error": self.error, "traceback": self.traceback} if self.error else {}
        known = {"stage": self.name, "sample": self.sample, "seconds": round(self.seconds, 6)}
        held_up = {"held_up": round(self.held_up, 6)} if self.held_up >= _HELD_UP else {}
        return {**known, "returned": [one.to_json() for one in self.returned], **held_up, **failure}


class StageFailed(Exception):
    """A step without which there is no going on has raised."""


class Stages(contextlib.AbstractContextManager["Stages"]):
    """Runs steps, and tells each at once. ``debug``: what raises is looked at in pdb."""

    def __init__(self, tell: Callable[[Stage], None], *, debug: bool = False) -> None:
        self.all: list[Stage] = []
        self._tell = tell
        self._debug = debug
        self._runner = asyncio.Runner()
        # As in array tasks: a sample has what setup has set, and nothing of other samples.
        self._variables = contextvars.copy_context()
        self._beside: _LoopBeside | None = None

    def __exit__(self, *_: object) -> None:
        self._runner.close()
        if self._beside:
            self._beside.close()

    def run(
        self, name: str, step: Callable[[], Any], *, sample: str | None = None, show: Show | None = describe
    ) -> Any:
        """What the step returned, and ``show`` describes; raises StageFailed where it raised anything."""
        started, ticks = time.perf_counter(), _Ticks()
        variables = self._variables if sample is None else self._variables.copy()
        try:
            with without_timer():
                found = variables.run(step)
                if inspect.iscoroutine(found):
                    found = self._in_loop(found if sample is None else ticks.during(found), variables)
        except (Exception, SystemExit) as error:
            seconds, text = time.perf_counter() - started, _own_traceback(error)
            self._add(Stage(name, seconds, sample, (), described(error), text, ticks.longest))
            if self._debug:
                import_module("pdb").post_mortem(error.__traceback__)
            raise StageFailed from error
        seconds = time.perf_counter() - started
        self._add(Stage(name, seconds, sample, tuple(show(found)) if show else (), held_up=ticks.longest))
        return found

    def _add(self, stage: Stage) -> None:
        self.all.append(stage)
        self._tell(stage)

    def _in_loop(self, coroutine: Coroutine[Any, Any, Any], variables: contextvars.Context) -> Any:
        """Runs it in one event loop for all."""
        if not _is_in_loop():
            return self._runner.run(coroutine, context=variables)
        self._beside = self._beside or _LoopBeside()
        return variables.run(self._beside.run, coroutine)


class _Ticks:
    """Ticks in an event loop; ``longest``: the longest time without one, seconds."""

    def __init__(self) -> None:
        self.longest = self._last = 0.0

    async def during(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns, while others, as these ticks, should have their turns."""
        self._last = time.perf_counter()
        ticking = asyncio.create_task(self._go_on())
        try:
            return await coroutine
        finally:
            self._tick()
            ticking.cancel()

    async def _go_on(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(_TICK)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now


class _LoopBeside:
    """An event loop in a thread of its own, beside that of a notebook, which is running."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        running = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return running.result()
        except BaseException:  # an interrupt, of the thread that waits alone: what it waits for must not go on
            running.cancel()
            raise

    def close(self) -> None:
        self.run(_end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_all() -> None:
    """As asyncio.run does at its end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _is_in_loop() -> bool:
    """Asked by itself: what is raised while this is answered would be told as the cause of what is raised later."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _own_traceback(error: BaseException) -> str:
    """As Python prints it, from the user's code on."""
    return "".join(traceback.format_exception(type(error), error, own_frames(error, [_OURS])))

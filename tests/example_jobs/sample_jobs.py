"""Jobs that take samples one by one, and misbehave on named rows."""

import asyncio
import contextvars
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import ProcessBroken
from jobs.job import Context, Job
from jobs.storage.samples import Sample

SET_UP: contextvars.ContextVar[bool] = contextvars.ContextVar("SET_UP")


class Waits(Job):
    """Doubles ``x`` after a wait of ``seconds`` times (row % ``uneven``); ``bad`` maps rows to what happens there.

    ``marks`` is a folder for what has to be remembered over processes: "once" in a kind of misbehaviour.
    """

    counts = ("n", "tokens", "text")

    def __init__(
        self,
        seconds: float = 0.0,
        uneven: int = 1,
        bad: dict[str, str] | None = None,
        marks: str | None = None,
        load_seconds: float = 0.0,
    ) -> None:
        self.load_seconds = load_seconds
        self.seconds, self.uneven, self.bad = seconds, uneven, bad or {}
        self.marks = Path(marks) if marks else None
        self.is_dead = self.is_hung = False
        self.now = self.most = 0

    async def setup(self, context: Context) -> None:
        await asyncio.sleep(0)
        SET_UP.set(True)
        self.in_flight = context.in_flight
        self.gpus = f"{os.environ.get('CUDA_VISIBLE_DEVICES')}: {' '.join(context.devices)}"
        if self.marks and (self.marks / "not there yet").exists():
            (self.marks / "not there yet").unlink()
            raise ProcessBroken("the engine is not there yet")
        if self.marks and (self.marks / "stays dead").exists():
            raise ProcessBroken("the engine has died, and does not start")

    def load(self, sample: Sample) -> dict[str, Any]:
        time.sleep(self.load_seconds)
        match self.bad.get(str(sample.index)):
            case "load":
                raise ValueError("cannot be loaded")
            case "abort in load":
                os.kill(os.getpid(), signal.SIGABRT)
            case "block in load":
                time.sleep(3600)
        return {"row": sample.index, "x": np.full(3, float(sample["x"]))}

    async def process_sample(self, item: dict[str, Any], seed: int) -> dict[str, Any]:
        row = item["row"]
        assert SET_UP.get()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds * (row % self.uneven + 1))
            await self._misbehave(self.bad.get(str(row), ""), row)
        finally:
            self.now -= 1
        return {
            "y": item["x"] * 2,
            "n": np.int32(row),
            "seed": seed,
            "text": f"row {row}",
            "tokens": list(range(row % 4)),
            "gpus": self.gpus,
        }

    async def _misbehave(self, how: str, row: int) -> None:
        if self.is_dead:
            raise RuntimeError(f"engine at 0x{row:x} is dead")
        if self.is_hung:
            await asyncio.sleep(3600)
        match how:
            case "raise":
                raise ValueError("bad sample")
            case "needs much" if self.now > 1:
                raise MemoryError("not beside others")
            case "needs all":
                raise MemoryError("not even alone")
            case "hang":
                await asyncio.sleep(3600)
            case "stubborn":
                while True:
                    try:
                        await asyncio.sleep(3600)
                    except asyncio.CancelledError:
                        continue
            case "block":
                time.sleep(3600)
            case "stop":
                asyncio.get_running_loop().stop()
            case "abort":
                os.kill(os.getpid(), signal.SIGABRT)
            case "broken":
                raise ProcessBroken("the engine has died")
            case "stays dead":
                assert self.marks
                (self.marks / "stays dead").touch()
                raise ProcessBroken("the engine has died")
            case "broken once" if self._is_first():
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._misbehave("broken", row))
            case "hangs once":
                self.is_hung = self._is_first()
            case "dies" | "dies once":
                self.is_dead = how == "dies" or self._is_first()
                if self.is_dead:
                    raise RuntimeError("engine at 0x1 is dead")

    def _is_first(self) -> bool:
        assert self.marks
        try:
            (self.marks / "done").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Hungry(Job):
    """Each sample takes so many MB for a while, and the one with ``large`` in its column x all there is."""

    def __init__(self, megabytes: int, large: int | None = None, setups: str | None = None) -> None:
        self.megabytes, self.large, self.setups = megabytes, large, setups
        self.is_filling = False

    def setup(self, context: Context) -> None:
        if self.setups:
            with open(self.setups, "a") as file:
                file.write("x")

    def load(self, sample: Sample) -> int:
        return int(sample["x"])

    async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
        held = [np.ones(self.megabytes << 17)]
        while item == self.large:
            self.is_filling = True
            held.append(np.ones(8 << 17))
            await asyncio.sleep(0.005)
        await asyncio.sleep(1.2)
        while self.is_filling:
            await asyncio.sleep(0.05)
        return {"y": item * len(held)}


class Batches(Job):
    """Doubles ``x``, a batch at a time; from row ``dies`` on its engine is dead, in the first process only if ``marks`` is set.

    ``broken``: that is what it says itself.
    """

    counts = ("y",)

    def __init__(self, dies: int, marks: str | None = None, broken: bool = False) -> None:
        self.dies, self.marks, self.broken = dies, Path(marks) if marks else None, broken
        self.is_dead = False

    def load(self, sample: Sample) -> int:
        return sample.index

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        if self.dies in batch and not (self.marks and (self.marks / "done").exists()):
            if self.marks:
                (self.marks / "done").touch()
            self.is_dead = True
        if self.is_dead and self.broken:
            raise ProcessBroken("the engine has died")
        if self.is_dead:
            raise RuntimeError(f"engine is dead, says request {batch[0]}")
        return {"y": batch * 2}

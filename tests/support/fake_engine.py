"""A server with OpenAI's API and no model: answers are made of prompt and seed, and it fails as it is told to.

``python -m tests.support.fake_engine PLACE [BAD] [MARKS] [ROOM]``: PLACE is a port or the path of a socket; BAD, as JSON, maps
words of prompts to what happens there; MARKS is a folder for what happens once; of ROOM requests at a time each takes 0.1 s.
"""

import asyncio
import json
import os
import signal
import sys
import zlib
from pathlib import Path
from typing import Any

from aiohttp import web


class FakeEngine:
    def __init__(self, bad: dict[str, str], marks: str, room: int = 0) -> None:
        self.bad, self.marks = bad, Path(marks)
        self.room = asyncio.Semaphore(room) if room else None
        self.now = self.most = 0

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/health", self.health)
        made.router.add_get("/most", self.tell_most)
        made.router.add_post("/v1/chat/completions", self.chat)
        made.router.add_post("/v1/completions", self.complete)
        return made

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def tell_most(self, request: web.Request) -> web.Response:
        return web.Response(text=str(self.most))

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.bad.get(body["messages"][-1]["content"].split()[-1]) == "tell key":
            return web.Response(status=401, text=f"not {request.headers.get('Authorization')}")
        return await self._answer(body, " ".join(message["content"] for message in body["messages"]), chat=True)

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        return await self._answer(body, body["prompt"], chat=False)

    async def _answer(self, body: dict[str, Any], prompt: str, *, chat: bool) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.room:
            async with self.room:
                await asyncio.sleep(0.1)
        else:
            await asyncio.sleep(zlib.crc32(prompt.encode()) % 20 / 1000)
        self.now -= 1
        how = self.bad.get(prompt.split()[-1], "")
        is_due = how and (not how.endswith(" once") or self._is_first(f"{how} {prompt}"))
        if is_due and (failed := self._misbehave(how.removesuffix(" once"))):
            return failed
        choices = [self._choice(prompt, body, number, chat) for number in range(body.get("n", 1))]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": 3 * len(choices)}
        return web.json_response({"choices": choices, "usage": usage})

    def _is_first(self, what: str) -> bool:
        try:
            (self.marks / what.replace("/", "")).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _misbehave(self, how: str) -> web.Response | None:
        match how:
            case "die":
                print("out of everything", flush=True)
                os._exit(3)
            case "hang":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "429":
                return web.Response(status=429, headers={"Retry-After": "0"})
            case "nonsense":
                return web.Response(text="<html>")
        return web.Response(status=int(how), text="no such luck")

    def _choice(self, prompt: str, body: dict[str, Any], number: int, chat: bool) -> dict[str, Any]:
        text = f"{prompt} / {body.get('seed')} / {number}"
        if "response_format" in body:
            text = json.dumps({"of": text})
        reason = "length" if body.get("max_tokens") == 1 else "stop"
        found: dict[str, Any] = {"index": number, "finish_reason": reason}
        found |= {"message": {"content": text}} if chat else {"text": text}
        if body.get("logprobs"):
            found["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": -1.0}], "token_logprobs": [None, -1.0]}
        return found


def main() -> None:
    place, bad, marks, room = [*sys.argv[1:], *["", "{}", ".", "0"][len(sys.argv) - 1 :]]
    app = FakeEngine(json.loads(bad), marks, int(room)).app()
    where: dict[str, Any] = {"port": int(place), "host": "127.0.0.1"} if place.isdigit() else {"path": place}
    web.run_app(app, **where, print=lambda *_: None)


if __name__ == "__main__":
    main()

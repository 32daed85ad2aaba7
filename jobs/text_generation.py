"""TextGeneration: answers of a language model to prompts, by any server with OpenAI's API, started per process or running.

A built-in Job, named in a config as ``jobs.text_generation:TextGeneration``.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from jobs.errors import InputError, ProcessBroken
from jobs.generation.answers import choices_of, is_cut_off, outputs_of
from jobs.generation.base_url import KEY, check_url, proxy_to
from jobs.generation.engine import FIELDS, Engine
from jobs.generation.messages import messages_of
from jobs.inputs import bad_parameter, need_number, need_packages, need_whole
from jobs.job import Context, Job
from jobs.program.argument import Argument
from jobs.storage.samples import Sample

if TYPE_CHECKING:
    from jobs.generation.client import Client

_OWN_FIELDS = {"index", "id"}
# The request's own keys; all others of ``sampling`` are the server's to know.
_TAKEN = {"model", "messages", "prompt", "stream", "seed", "response_format", "logprobs", "top_logprobs"}


class TextGeneration(Job):
    """Outputs per sample: ``text``, ``finish_reason``, ``prompt_tokens`` and ``completion_tokens`` int32.

    - ``model``: its name, as the server knows it, or its folder.
    - ``command``: the program and arguments of a server that each process starts for itself, one text each, with the fields
      ``{model}``, ``{socket}`` (a Unix socket) or ``{port}``, ``{gpus}`` (how many the process has) and ``{in_flight}``. A
      port can be reached by all users of a node: its VLLM_API_KEY and LLAMA_API_KEY are a key that nobody else has.
    - ``base_url``: instead, a server that runs, such as ``http://host:8000/v1``; its key is ``$OPENAI_API_KEY`` in the task.
    - ``prompt``: text with fields, columns of the manifest.
    - ``messages``: instead, a column of messages, lists or JSON.
    - ``system``: a system message before them.
    - ``chat``: false sends the prompt as it is, to /completions.
    - ``sampling``: ``{max_tokens: 512, temperature: 0.7}``, passed on as it is; with ``n`` over 1 there are ``text_0``,
      ``text_1``, and so on, and as many ``finish_reason_0``.
    - ``schema``: a JSON schema that answers must have; one that is cut off by max_tokens fails its sample.
    - ``seed``: whether each request has its row's seed, where its temperature is not 0.
    - ``logprobs``: true for an output of that name, those of the answer's tokens (of the first answer).
    - ``retries`` of a request that met HTTP 408, 425, 429 or 5xx, or a broken connection.
    - ``request_timeout``: seconds of each request; null: ``node.sample_timeout`` alone.
    - ``start_timeout``: seconds until a server that is started answers.

    ``node.in_flight`` requests are made at a time. A subclass may ask several times: ``await self.generate(messages, seed)`` in
    a ``process_sample`` of its own. Raises InputError for parameters that cannot work, ValueError for rows.
    """

    param_files = ("model",)
    counts = ("prompt_tokens", "completion_tokens")

    def __init__(
        self,
        model: str,
        command: list[str] | None = None,
        base_url: str | None = None,
        prompt: str | None = None,
        messages: str | None = None,
        system: str | None = None,
        chat: bool = True,
        sampling: dict[str, Any] | None = None,
        schema: dict[str, Any] | None = None,
        seed: bool = True,
        logprobs: bool = False,
        retries: int = 5,
        start_timeout: float = 1800.0,
        request_timeout: float | None = None,
    ) -> None:
        need_packages("TextGeneration", "generation")
        if (command is None) == (base_url is None):
            raise InputError("job.params: command: give either command, a server to start, or base_url, one that runs")
        self._command = [Argument.parse("command", word) for word in command or ()]
        if strange := frozenset[str]().union(*(word.fields for word in self._command)) - FIELDS:
            raise bad_parameter(
                "command", "{" + min(strange) + "}", ", ".join(f"{{{name}}}" for name in sorted(FIELDS))
            )
        if command is not None and not {"socket", "port"} & self._asked:
            raise bad_parameter("command", command, "one with {socket} or {port}, where the server is to listen")
        if base_url is not None:
            check_url(base_url)
        if (prompt is None) == (messages is None):
            raise InputError("job.params: prompt: give either prompt, a text with fields, or messages, a column")
        if not chat and (messages is not None or system is not None):
            raise bad_parameter("chat", chat, "true, with messages or system")
        self._model, self._base_url, self._chat, self._system = model, base_url, chat, system
        self._prompt = None if prompt is None else Argument.parse("prompt", prompt)
        self._messages = messages
        if not isinstance(sampling, dict | None):
            raise bad_parameter("sampling", sampling, "keys of a request, such as {max_tokens: 512}")
        self._sampling = dict(sampling or {})
        if taken := _TAKEN & self._sampling.keys():
            raise bad_parameter("sampling", min(taken), "keys that have no parameter of their own")
        need_whole("sampling: n", self._sampling.get("n", 1), "a number of answers from 1")
        for name, value in {"chat": chat, "seed": seed, "logprobs": logprobs}.items():
            if not isinstance(value, bool):
                raise bad_parameter(name, value, "true, false")
        self._schema, self._seed, self._logprobs = schema, seed, logprobs
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise bad_parameter("retries", retries, "a number from 0")
        self._retries = retries
        self._start_timeout = need_number("start_timeout", start_timeout, "seconds over 0")
        if request_timeout is not None:
            request_timeout = need_number("request_timeout", request_timeout, "seconds over 0, or null")
        self._request_timeout = request_timeout
        self._engine: Engine | None = None
        self._client: Client | None = None

    @property
    def _asked(self) -> frozenset[str]:
        return frozenset[str]().union(*(word.fields for word in self._command))

    def manifest_columns(self) -> tuple[str, ...]:
        """Those of the prompt's fields, or that of messages."""
        fields = self._prompt.fields - _OWN_FIELDS if self._prompt else {self._messages or ""}
        return tuple(sorted(fields))

    # --- pool workers

    def load(self, sample: Sample) -> Any:
        """The messages; without chat, the prompt."""
        if self._prompt:
            text = self._prompt.fill({"index": sample.index, "id": sample.id, **sample})
            return self._with_system([{"role": "user", "content": text}]) if self._chat else text
        return self._with_system(messages_of(self._messages or "", sample[self._messages or ""]))

    def _with_system(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"role": "system", "content": self._system}, *messages] if self._system else messages

    # --- the process

    async def setup(self, context: Context) -> None:
        """Starts the server, or looks whether the one at base_url is there; raises ProcessBroken where it is not."""
        from jobs.generation.client import Client  # in the process alone

        limits = self._retries, self._request_timeout
        if self._base_url:
            key, proxy = os.environ.get(KEY, "").strip(), proxy_to(self._base_url)
            self._client = Client(self._base_url, key, *limits, proxy=proxy)
            if not await self._client.answers():
                raise ProcessBroken(f"the server at {self._base_url} does not answer")
            self._client.watch()
            return
        self._engine = engine = Engine(self._command, self._model, context)
        is_local = "socket" in self._asked
        base = "http://engine/v1" if is_local else f"http://127.0.0.1:{engine.port.number}/v1"
        self._client = Client(base, engine.key, *limits, engine.socket if is_local else None, engine)
        try:
            await engine.start(self._client.answers, self._start_timeout)
        except BaseException:  # teardown is not called
            await self._end()
            raise
        self._client.watch()

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        """One request."""
        return await self.generate(item, seed)

    async def generate(self, messages: Any, seed: int, **more: Any) -> dict[str, Any]:
        """Asks once, and returns the outputs of a sample; ``more`` are keys of the request, in the place of ``sampling``'s."""
        assert self._client
        body = {"model": self._model, **self._sampling, **more}
        body |= {"messages": messages} if self._chat else {"prompt": messages}
        if self._seed and body.get("temperature") != 0:
            body["seed"] = seed
        if self._schema:
            form = {"name": "answer", "schema": self._schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if self._logprobs:
            body["logprobs"] = True if self._chat else 1
        answer = await self._client.ask("/chat/completions" if self._chat else "/completions", body)
        choices = choices_of(answer, body.get("n", 1))
        if self._schema and is_cut_off(choices):
            raise ValueError("the answer was cut off by max_tokens, so it has not the form of the schema")
        return outputs_of(choices, answer.get("usage"), logprobs=self._logprobs)

    def teardown(self) -> Awaitable[None] | None:
        """Ends the server."""
        return self._end() if self._client else None

    async def _end(self) -> None:
        client, engine, self._client, self._engine = self._client, self._engine, None, None
        if client:
            await client.close()
        if engine:
            with contextlib.suppress(asyncio.CancelledError):
                await engine.stop()

"""A stand-in for vLLM: the names and signatures of its engine that docs/models.md uses, and answers without a model.

Copied as ``vllm.py`` to where a Job finds it.
"""

import asyncio
import dataclasses
import enum
import sys
import types
from collections.abc import AsyncGenerator, Mapping
from typing import Any


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclasses.dataclass(kw_only=True)
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclasses.dataclass
class AsyncEngineArgs:
    model: str = "Qwen/Qwen3-0.6B"
    tensor_parallel_size: int = 1


@dataclasses.dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None


@dataclasses.dataclass
class RequestOutput:
    request_id: str
    outputs: list[CompletionOutput]
    finished: bool


class EngineDeadError(Exception):
    pass


class AsyncLLM:
    def __init__(self, engine_args: AsyncEngineArgs) -> None:
        assert asyncio.get_running_loop()
        self.name, self.asked = engine_args.model, set[str]()

    @classmethod
    def from_engine_args(
        cls,
        engine_args: AsyncEngineArgs,
        start_engine_loop: bool = True,
        usage_context: Any = None,
        stat_loggers: list[Any] | None = None,
    ) -> "AsyncLLM":
        return cls(engine_args)

    async def generate(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        prompt_text: str | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        trace_headers: Mapping[str, str] | None = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
    ) -> AsyncGenerator[RequestOutput, None]:
        assert request_id not in self.asked
        self.asked.add(request_id)
        words = f"{prompt} {sampling_params.seed}".split()
        if "dead" in words:
            raise EngineDeadError
        for count in range(1, len(words) + 1):
            await asyncio.sleep(0.001)
            finished = count == len(words)
            if finished or sampling_params.output_kind is not RequestOutputKind.FINAL_ONLY:
                yield RequestOutput(
                    request_id, [CompletionOutput(0, " ".join(words[:count]), list(range(count)))], finished
                )

    def shutdown(self, timeout: float | None = None) -> None:
        print(f"{self.name} is shut down")


def _module(name: str, **values: Any) -> None:
    sys.modules[name] = module = types.ModuleType(name)
    vars(module).update(values)


for _name in ("vllm.engine", "vllm.v1", "vllm.v1.engine"):
    _module(_name)
_module("vllm.sampling_params", RequestOutputKind=RequestOutputKind, SamplingParams=SamplingParams)
_module("vllm.engine.arg_utils", AsyncEngineArgs=AsyncEngineArgs)
_module("vllm.v1.engine.async_llm", AsyncLLM=AsyncLLM)
_module("vllm.v1.engine.exceptions", EngineDeadError=EngineDeadError)

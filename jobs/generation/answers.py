"""Answers: what a server with OpenAI's API answers, to chats and to prompts, as the outputs of a sample."""

from typing import Any

import numpy as np


def is_cut_off(answer: dict[str, Any]) -> bool:
    """Whether one of its choices was ended by max_tokens."""
    return any(choice.get("finish_reason") == "length" for choice in answer["choices"])


def outputs_of(answer: dict[str, Any], asked: int, *, logprobs: bool) -> dict[str, Any]:
    """``text`` and ``finish_reason``, with a number each of several, int32 counts of tokens; raises ValueError.

    ``asked`` is how many choices there are to be; ``logprobs``, a list, are of the first one.
    """
    choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
    if len(choices) != asked:
        raise ValueError(f"the server gave {len(choices)} answers, and was asked for {asked}")
    outputs: dict[str, Any] = {}
    for at, choice in enumerate(choices):
        suffix = f"_{at}" if asked > 1 else ""
        outputs[f"text{suffix}"] = (choice["message"]["content"] if "message" in choice else choice["text"]) or ""
        outputs[f"finish_reason{suffix}"] = choice.get("finish_reason") or ""
    usage = answer.get("usage") or {}
    for name in ("prompt_tokens", "completion_tokens"):
        outputs[name] = np.int32(usage.get(name, 0))
    if logprobs:
        outputs["logprobs"] = _token_logprobs(choices[0].get("logprobs") or {})
    return outputs


def _token_logprobs(found: dict[str, Any]) -> list[float]:
    """Those of a chat, and those of /completions."""
    values = (
        [token["logprob"] for token in found["content"] or ()] if "content" in found else found.get("token_logprobs")
    )
    return [float("nan") if value is None else float(value) for value in values or ()]

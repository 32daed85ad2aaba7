"""Answers: what a server with OpenAI's API answers, to chats and to prompts, as the outputs of a sample."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Characters of an answer that is none.
_SHOWN = 300

Choice = Mapping[str, Any]


def choices_of(answer: Any, asked: int) -> list[Choice]:
    """The ``asked`` choices of an answer, in order; raises ValueError where it has another form."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise ValueError(f"the server gave no answers, but {json.dumps(answer)[:_SHOWN]}")
    if len(choices) != asked:
        raise ValueError(f"the server gave {len(choices)} of {asked} answers")
    return sorted(choices, key=lambda choice: choice.get("index") or 0)


def is_cut_off(choices: Sequence[Choice]) -> bool:
    """Whether one of them was ended by max_tokens."""
    return any(choice.get("finish_reason") == "length" for choice in choices)


def outputs_of(choices: Sequence[Choice], usage: Mapping[str, Any] | None, *, logprobs: bool) -> dict[str, Any]:
    """``text`` and ``finish_reason``, with a number each of several, int32 counts of tokens; raises ValueError.

    ``logprobs``, a list, are of the first one.
    """
    outputs: dict[str, Any] = {}
    for at, choice in enumerate(choices):
        suffix = f"_{at}" if len(choices) > 1 else ""
        outputs[f"text{suffix}"] = _text(choice)
        outputs[f"finish_reason{suffix}"] = choice.get("finish_reason") or ""
    for name in ("prompt_tokens", "completion_tokens"):
        outputs[name] = np.int32((usage or {}).get(name) or 0)
    if logprobs:
        outputs["logprobs"] = _token_logprobs(choices[0].get("logprobs") or {})
    return outputs


def _text(choice: Choice) -> str:
    """That of a chat's message, which may have none beside its calls of tools, or of a completion."""
    message = choice.get("message")
    text = (message.get("content", "") or "") if isinstance(message, dict) else choice.get("text")
    if not isinstance(text, str):
        raise ValueError(f"the server gave an answer without text: {json.dumps(choice)[:_SHOWN]}")
    return text


def _token_logprobs(found: dict[str, Any]) -> list[float]:
    """Those of a chat, and those of /completions."""
    values = (
        [token["logprob"] for token in found["content"] or ()] if "content" in found else found.get("token_logprobs")
    )
    return [float("nan") if value is None else float(value) for value in values or ()]

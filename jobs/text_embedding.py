"""TextEmbedding: one vector per text, by a transformer encoder and the mean, or another pooling, of its token vectors.

A built-in Job, named in a config as ``jobs.text_embedding:TextEmbedding``. Pool workers tokenize, the process
runs the model.

Method: mean pooling over the attention mask and L2 normalisation, as in Reimers and Gurevych, Sentence-BERT,
EMNLP 2019, https://arxiv.org/abs/1908.10084, and in the model card of sentence-transformers/all-MiniLM-L6-v2.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from jobs.embedding.known_model import need_text_model
from jobs.embedding.transformer import (
    Pooling,
    PoolingOrAuto,
    load_pretrained,
    own_max_tokens,
    own_pooling,
    pooled,
    resolve_model,
)
from jobs.embedding.windows import mean_of_windows
from jobs.errors import InputError
from jobs.inputs import need_one_of, need_packages
from jobs.job import Context, Job

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]

# Rows of a batch are run in this many groups of similar length, each padded to its own longest row. Measured
# on one core, batches of 64 docstrings cut at 64 tokens: 1 group 70 texts/s, 2 groups 94, 4 groups 106, 8
# groups 111.
_GROUPS = 4
# Windows of long texts that go through the model at once: a book has thousands.
_MOST_WINDOWS = 256


class TextEmbedding(Job):
    """Outputs per text: ``embedding`` float32 [d]; ``n_tokens`` int32, with special tokens, after the cut.

    The result of a batch depends on its rows alone.

    Args:
        model: a name on the Hugging Face hub or a local folder (relative ones start in the config's folder)
        text: column of the manifest
        max_tokens: tokens at which a text is cut, or how long windows are; null: as the model's files say
        normalize: true for vectors of length 1
        dtype: what the model computes with
        prompt: what stands before each text, such as "query: ", for models that were trained so
        pooling: how token vectors become one; auto: as the files of a sentence-transformers model say
        overlap: null: a text that is longer is cut. A number: it becomes windows of max_tokens tokens, which have so many in
            common, and its vector is the mean of theirs, each counting by its tokens; n_tokens are those of all windows

    Raises InputError for parameters that cannot work. A number is embedded as it prints. A null text fails its sample; an
    empty one is embedded.
    """

    # transformers imports its parts late: modeling_utils is most of what loading a model imports (1.2 s).
    preload: ClassVar[tuple[str, ...]] = ("torch", "transformers", "transformers.modeling_utils")
    param_files: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(
        self,
        model: str,
        text: str = "text",
        max_tokens: int | None = 256,
        normalize: bool = True,
        dtype: Dtype = "float32",
        prompt: str = "",
        pooling: PoolingOrAuto = "mean",
        overlap: int | None = None,
    ) -> None:
        need_packages("TextEmbedding", "text")
        if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 1):
            raise InputError(f"max_tokens: {max_tokens!r} is not valid; valid: a number of tokens, or null")
        if dtype not in get_args(Dtype):
            raise InputError(f"dtype: {dtype!r} is not supported; valid: {', '.join(get_args(Dtype))}")
        if overlap is not None and (not isinstance(overlap, int) or not 0 <= overlap < (max_tokens or overlap + 1)):
            raise InputError(
                f"overlap: {overlap!r} is not valid; valid: null, or a number of tokens less than max_tokens"
            )
        need_one_of("pooling", pooling, get_args(PoolingOrAuto))
        self._pooling = pooling
        self._source = resolve_model(model)
        need_text_model(self._source)
        self._prompt = prompt
        self._overlap = overlap
        self._column = text
        self._max_tokens = max_tokens
        self._normalize = normalize
        self._dtype = dtype

    def manifest_columns(self) -> tuple[str, ...]:
        """That of the texts."""
        return (self._column,)

    def setup_worker(self, context: Context) -> None:
        """Loads the tokenizer; raises InputError where ``max_tokens`` is too small or too large for it."""
        # Workers are the parallelism; threads of the tokenizer would compete with them for the same cores.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from transformers import AutoTokenizer

        self._tokenizer = load_pretrained(AutoTokenizer, self._source)
        # A tokenizer does not cut at all where that would leave no room for a token between the special ones.
        least, most = self._tokenizer.num_special_tokens_to_add() + 1, self._tokenizer.model_max_length
        if self._max_tokens is None:
            self._max_tokens = own_max_tokens(self._source, most)
        if not least <= self._max_tokens <= most:
            valid = f"valid for this model: {least} to {most}"
            raise InputError(f"max_tokens: {self._max_tokens} is out of range; {valid}")
        if self._overlap is not None:
            if not self._tokenizer.is_fast:
                raise InputError("overlap: the tokenizer of this model makes no windows; valid: null")
            if self._overlap > self._max_tokens - least:
                raise InputError(f"overlap: {self._overlap} is too much; valid: up to {self._max_tokens - least}")

    def load(self, sample: Mapping[str, Any]) -> Any:
        """Token ids of the row's text, int32 [tokens], or a list of its windows'; raises ValueError where there is no text."""
        if self._column not in sample:
            raise ValueError(f"the manifest has no column {self._column!r}; its columns: {', '.join(sample)}")
        text = sample[self._column]
        if not isinstance(text, str | int | float):
            found = "null" if text is None else f"of type {type(text).__name__}"
            raise ValueError(f"column {self._column!r} is {found} here; valid: text, also an empty one, and numbers")
        text = f"{self._prompt}{text}"
        cut = {"truncation": True, "max_length": self._max_tokens}
        if self._overlap is None:
            ids = self._tokenizer(text, **cut)["input_ids"]
        else:
            ids = self._tokenizer(text, **cut, stride=self._overlap, return_overflowing_tokens=True)["input_ids"]
        if not ids or ids == [[]]:
            raise ValueError(f"column {self._column!r}: the tokenizer makes no token of {text!r}")
        return np.array(ids, np.int32) if self._overlap is None else [np.array(window, np.int32) for window in ids]

    def collate(self, items: list[Any]) -> dict[str, np.ndarray]:
        """``input_ids`` int32 [n, longest], padded on the right, and ``n_tokens`` int32 [n]; of windows, how many of each."""
        rows = items if self._overlap is None else [window for windows in items for window in windows]
        n_tokens = np.array([len(ids) for ids in rows], np.int32)
        input_ids = np.full((len(rows), n_tokens.max()), self._tokenizer.pad_token_id or 0, np.int32)
        for row, ids in zip(input_ids, rows, strict=True):
            row[: len(ids)] = ids
        batch = {"input_ids": input_ids, "n_tokens": n_tokens}
        return (
            batch if self._overlap is None else {**batch, "n_windows": np.array([len(one) for one in items], np.int32)}
        )

    def setup(self, context: Context) -> None:
        """Loads the model on ``context.device``."""
        import torch
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = load_pretrained(AutoModel, self._source, dtype=getattr(torch, self._dtype))
        self._model = model.to(context.device).eval()
        self._pool: Pooling = own_pooling(self._source) if self._pooling == "auto" else self._pooling

    def process(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """``embedding`` float32 [n, d] (torch, on the model's device) and ``n_tokens`` int32 [n]."""
        import torch

        input_ids, n_tokens = batch["input_ids"], batch["n_tokens"]
        order = np.argsort(n_tokens, kind="stable")
        count = min(_GROUPS, len(order))
        if "n_windows" in batch:
            count = max(count, -(-len(order) // _MOST_WINDOWS))
        with torch.inference_mode():
            groups = np.array_split(order, count)
            ordered = torch.cat([self._embed(input_ids[rows], n_tokens[rows]) for rows in groups])
            embedding = torch.empty_like(ordered)
            embedding[torch.from_numpy(order)] = ordered
            if "n_windows" in batch:
                n_windows = batch["n_windows"]
                embedding = mean_of_windows(embedding, n_tokens, n_windows)
                n_tokens = np.add.reduceat(n_tokens, np.cumsum([0, *n_windows[:-1]]), dtype=np.int32)
            if self._normalize:
                embedding = torch.nn.functional.normalize(embedding, dim=1)
        return {"embedding": embedding, "n_tokens": n_tokens}

    def _embed(self, input_ids: np.ndarray, n_tokens: np.ndarray) -> "torch.Tensor":
        """Vectors float32 [n, d] of rows that are padded no further than to the longest of them."""
        import torch

        device = self._model.device
        longest = int(n_tokens.max())
        mask = torch.from_numpy(np.arange(longest) < n_tokens[:, None]).to(device)
        ids = torch.from_numpy(input_ids[:, :longest]).to(device)
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        return pooled(hidden, mask, self._pool)

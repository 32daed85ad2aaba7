"""WhisperEncoder: the encoder of a Whisper model as one of sound, whose vector is the mean of its states.

Imported in processes alone, by its name.
"""

import torch
from transformers import AutoModel
from transformers.utils import logging

from jobs.embedding.known_model import need_mels
from jobs.embedding.transformer import load_pretrained
from jobs.errors import InputError


class WhisperEncoder(torch.nn.Module):
    """model(features [b, 3000, mels], lengths [b]) -> float32 [b, d]: the mean of the states that hear sound, not padding.

    ``source`` is a folder that save_pretrained wrote, or a name on the hub. Raises InputError where it has another model.
    """

    def __init__(self, source: str, mels: int) -> None:
        super().__init__()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = load_pretrained(AutoModel, source)
        if model.config.model_type != "whisper":
            raise InputError(
                f"job.params: model: {source} is of type {model.config.model_type}; valid: a Whisper model"
            )
        need_mels(model.config.num_mel_bins, mels)
        self.encoder = model.get_encoder()

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        states = self.encoder(features.transpose(1, 2)).last_hidden_state.float()
        heard = (lengths + 1) // 2  # a state is of two frames
        inside = torch.arange(states.shape[1], device=states.device)[None] < heard[:, None]
        total: torch.Tensor = (states * inside[:, :, None]).sum(1)
        return total / heard[:, None]

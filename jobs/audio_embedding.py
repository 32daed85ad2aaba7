"""AudioEmbedding: one vector per audio file, or per segment of it, such as a speaker embedding, by a torch model.

A built-in Job, named in a config as ``jobs.audio_embedding:AudioEmbedding``. Pool workers read, resample and compute
features; the process runs the model on rows of similar length together, so that little of what it computes is padding.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jobs.embedding.known_model import whisper_model
from jobs.embedding.sound_features import FeatureName, Filters, sound_pieces
from jobs.embedding.sound_pieces import Pieces
from jobs.embedding.torch_model import Dtype, TorchModel
from jobs.embedding.windows import mean_of_windows
from jobs.inputs import local_file, need_folder, need_number, need_packages, need_whole, text_of
from jobs.job import Context, Job
from jobs.sound.sound_file import read_sound


class AudioEmbedding(Job):
    """Outputs per file: ``X`` float32 [d]; ``n_frames`` int32; ``spk_ids`` and ``spk_path``, text as in the manifest.

    With ``segment`` ``X`` is [segments, d], and ``starts`` float32 [segments], seconds.

    Args:
        model: a TorchScript file (a relative one starts at the config's folder), or module:function that returns a
            torch.nn.Module. It is called as model(features [b, frames, mels], lengths int64 [b]) -> [b, d] and must
            ignore a row's frames from its length on, which are 0. Of waveforms it is model(signals [b, samples], lengths).
            With features whisper also a Whisper model, a name on the Hugging Face hub or a folder that save_pretrained wrote
        model_params: keyword arguments of the function
        path: column of the files, in any format and with any number of channels; channels are averaged. Or of their bytes
            (tars), or URLs
        speaker: column of who speaks, a name or a number; null, for files alone: then there are no ``spk_ids``
        folder: where relative files start; itself it starts at the config's folder
        sample_rate: Hz; all files are resampled to it
        max_seconds: what comes after in a file is not read; null reads all
        features: log_mel, whose formula is in jobs/embedding/log_mel.py; kaldi, filter banks as models trained with Kaldi's
            have them (pip install 'shardrun[kaldi]'); waveform, the signal from -1 to 1, for models that read that; whisper,
            [b, 3000, mels], 30 seconds each: a file that is longer is the mean of its windows, each counting by its sound
        kaldi: of features kaldi, {window_type: povey, subtract_mean: false}; hamming and true are WeSpeaker's
        mels: number of filters
        window: seconds that a frame spans
        hop: seconds from frame to frame
        low: Hz where the filters begin
        high: Hz where the filters end; null: half the sample rate
        segment: seconds; null: a file is one vector. Else each of its segments of that length is, and what is left at the end
            if it is half as long, or all there is
        segment_hop: seconds from segment to segment; null: as long as they are
        max_frames: of one call of the model, padding included; a file with more goes alone. Of a waveform, hop samples
            count as one
        max_padding: share of a call's frames that may be padding; 0, for a model that cannot ignore padding, puts only
            files of equal length together
        dtype: of weights and features

    Raises InputError for parameters that cannot work. A file that cannot be read, is cut short, holds NaN, or is shorter
    than a window fails its sample.
    """

    preload: ClassVar[tuple[str, ...]] = ("torch", "soundfile", "soxr")
    param_files: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(
        self,
        model: str,
        model_params: dict[str, Any] | None = None,
        path: str = "path",
        speaker: str | None = "spk_id",
        folder: Path = Path(),
        sample_rate: int = 16_000,
        max_seconds: float | None = 60.0,
        features: FeatureName = "log_mel",
        kaldi: dict[str, Any] | None = None,
        mels: int = 80,
        window: float = 0.025,
        hop: float = 0.010,
        low: float = 20.0,
        high: float | None = None,
        segment: float | None = None,
        segment_hop: float | None = None,
        max_frames: int = 50_000,
        max_padding: float = 0.2,
        dtype: Dtype = "float32",
    ) -> None:
        need_packages("AudioEmbedding", "audio")
        self._model = TorchModel(*whisper_model(model, model_params, features, mels), dtype)
        self._path, self._speaker = path, speaker
        self._folder = need_folder("folder", folder)
        self._rate = need_whole("sample_rate", sample_rate, "samples per second, such as 16000")
        if max_seconds is not None:
            need_number("max_seconds", max_seconds, "seconds over 0, or null")
        self._max_seconds = max_seconds
        filters = Filters.checked(self._rate, mels, window, hop, low, high)
        self._pieces = sound_pieces(features, filters, kaldi, segment, segment_hop)
        self._has_segments = segment is not None
        longest = need_whole("max_frames", max_frames, "a number of frames")
        self._max_frames = longest * filters.hop if features == "waveform" else longest
        self._max_padding = need_number(
            "max_padding", max_padding, "a share from 0 to less than 1", above=-1e-9, most=0.999
        )

    def manifest_columns(self) -> tuple[str, ...]:
        """Those of the files and of who speaks."""
        return tuple(filter(None, (self._path, self._speaker)))

    def load(self, sample: Mapping[str, Any]) -> tuple[Pieces, str, str]:
        """What the model gets, speaker and path (of bytes: id) of a row; raises ValueError or OSError."""
        speaker = text_of(sample, self._speaker) if self._speaker else ""
        value = sample.get(self._path)
        given = sample if value is None else {self._path: value}  # a reference is read each time that it is asked for
        with local_file(given, self._path, self._folder) as path:
            signal = read_sound(path, self._rate, self._max_seconds)
        is_content = isinstance(value, bytes | dict)
        name = str(getattr(sample, "id", "")) if is_content else text_of(given, self._path)
        try:
            return self._pieces(signal), speaker, name
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def collate(self, items: list[tuple[Pieces, str, str]]) -> dict[str, Any]:
        """``frames`` float32 [all frames, mels] or [all samples], without padding; ``spans`` int64 [pieces, 3] are in these."""
        found, speakers, paths = zip(*items, strict=True)
        begins = np.cumsum([0, *(len(one.frames) for one in found)])
        spans = [one.spans + np.array([begin, begin, 0]) for one, begin in zip(found, begins, strict=False)]
        return {
            "frames": np.concatenate([one.frames for one in found]),
            "spans": np.concatenate(spans),
            "starts": np.concatenate([one.starts for one in found]),
            "n_pieces": np.array([len(one.spans) for one in found]),
            "n_frames": np.array([one.length for one in found], np.int32),
            "speakers": speakers,
            "paths": paths,
        }

    def setup(self, context: Context) -> None:
        """Loads the model on ``context.device``."""
        self._model.load(context)

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``X`` float32 [n, d] (torch, on the model's device), or a list of [segments, d]; and what came with the batch."""
        import torch

        spans, n_pieces = batch["spans"], batch["n_pieces"]
        frames = torch.from_numpy(batch["frames"]).to(self._model.device, self._model.dtype, non_blocking=True)
        groups = length_groups(spans[:, 1] - spans[:, 0], self._max_frames, self._max_padding)
        ordered = torch.cat([self._embed(frames, spans[rows]) for rows in groups])
        back = torch.from_numpy(np.argsort(np.concatenate(groups)))
        vectors = ordered[back.to(ordered.device)]
        named = (("spk_ids", "speakers"), ("spk_path", "paths")) if self._speaker else (("spk_path", "paths"),)
        outputs = {name: list(batch[of]) for name, of in named}
        outputs["n_frames"] = batch["n_frames"]
        if self._has_segments:
            outputs["starts"] = np.split(batch["starts"], np.cumsum(n_pieces)[:-1])
            return {"X": [one.numpy() for one in vectors.cpu().split_with_sizes(n_pieces.tolist())], **outputs}
        if len(vectors) > len(n_pieces):
            vectors = mean_of_windows(vectors, spans[:, 2], n_pieces)
        return {"X": vectors, **outputs}

    def _embed(self, frames: Any, spans: np.ndarray) -> Any:
        """Vectors [b, d] of b pieces, padded to the longest of them."""
        import torch

        pieces = [frames[start:stop] for start, stop, _ in spans.tolist()]
        lengths = torch.tensor(spans[:, 2], device=self._model.device)
        return self._model(torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), lengths)


def length_groups(lengths: np.ndarray, max_frames: int, max_padding: float) -> list[list[int]]:
    """Rows, each in one group, shortest first, so that no group exceeds either limit; a row over max_frames is alone.

    A group of b rows takes b x its longest row; ``max_padding`` is the share of that which may be padding. It depends on
    ``lengths``, int [n], alone, so that a batch gives the same bits wherever it is computed.
    """
    groups: list[list[int]] = []
    filled = 0
    for row in np.argsort(lengths, kind="stable").tolist():
        length = int(lengths[row])
        size = length * (len(groups[-1]) + 1) if groups else 0
        if groups and size <= max_frames and size - filled - length <= max_padding * size:
            groups[-1].append(row)
            filled += length
        else:
            groups.append([row])
            filled = length
    return groups

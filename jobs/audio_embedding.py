"""AudioEmbedding: one vector per audio file, or per segment of it, such as a speaker embedding, by a torch model.

A built-in Job, named in a config as ``jobs.audio_embedding:AudioEmbedding``. Pool workers read, resample and compute
features; the process runs the model on rows of similar length together, so that little of what it computes is padding.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jobs.embedding.sound_features import FeatureName, Filters, sound_features
from jobs.embedding.torch_model import Dtype, TorchModel
from jobs.inputs import local_file, need_folder, need_number, need_packages, need_whole, text_of
from jobs.job import Context, Job
from jobs.sound.sound_file import read_sound


class AudioEmbedding(Job):
    """Outputs per file: ``X`` float32 [d]; ``n_frames`` int32; ``spk_ids`` and ``spk_path``, text as in the manifest.

    With ``segment`` ``X`` is [segments, d], and ``starts`` float32 [segments], seconds.

    Args:
        model: a TorchScript file (a relative one starts at the config's folder), or module:function that returns a
            torch.nn.Module. It is called as model(features [b, frames, mels], lengths int64 [b]) -> [b, d] and must
            ignore a row's frames from its length on, which are 0. Of waveforms it is model(signals [b, samples], lengths)
        model_params: keyword arguments of the function
        path: column of the files, in any format and with any number of channels; channels are averaged. Or of their bytes
            (tars), or URLs
        speaker: column of who speaks, a name or a number; null, for files alone: then there are no ``spk_ids``
        folder: where relative files start; itself it starts at the config's folder
        sample_rate: Hz; all files are resampled to it
        max_seconds: what comes after in a file is not read; null reads all
        features: log_mel, whose formula is in jobs/embedding/log_mel.py; kaldi, filter banks as models trained with Kaldi's
            have them (pip install 'shardrun[kaldi]'); waveform, the signal from -1 to 1, for models that read that
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
        self._model = TorchModel(model, model_params, dtype)
        self._path, self._speaker = path, speaker
        self._folder = need_folder("folder", folder)
        self._rate = need_whole("sample_rate", sample_rate, "samples per second, such as 16000")
        if max_seconds is not None:
            need_number("max_seconds", max_seconds, "seconds over 0, or null")
        self._max_seconds = max_seconds
        filters = Filters.checked(self._rate, mels, window, hop, low, high)
        self._features = sound_features(features, filters, kaldi)
        self._per_second = self._rate / (1 if features == "waveform" else filters.hop)
        self._segment = self._frames_of("segment", segment)
        self._segment_hop = self._frames_of("segment_hop", segment_hop) or self._segment
        longest = need_whole("max_frames", max_frames, "a number of frames")
        self._max_frames = longest * filters.hop if features == "waveform" else longest
        self._max_padding = need_number(
            "max_padding", max_padding, "a share from 0 to less than 1", above=-1e-9, most=0.999
        )

    def _frames_of(self, name: str, seconds: float | None) -> int:
        """Frames, or samples of a waveform, of a parameter in seconds; 0 of null."""
        if seconds is None:
            return 0
        return max(1, round(need_number(name, seconds, "seconds over 0, or null") * self._per_second))

    def manifest_columns(self) -> tuple[str, ...]:
        """Those of the files and of who speaks."""
        return tuple(filter(None, (self._path, self._speaker)))

    def load(self, sample: Mapping[str, Any]) -> tuple[np.ndarray, str, str]:
        """Features float32, speaker and path (of bytes: id) of a row; raises ValueError or OSError."""
        speaker = text_of(sample, self._speaker) if self._speaker else ""
        value = sample.get(self._path)
        given = sample if value is None else {self._path: value}  # a reference is read each time that it is asked for
        with local_file(given, self._path, self._folder) as path:
            signal = read_sound(path, self._rate, self._max_seconds)
        is_content = isinstance(value, bytes | dict)
        name = str(getattr(sample, "id", "")) if is_content else text_of(given, self._path)
        try:
            return self._features(signal), speaker, name
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def collate(self, items: list[tuple[np.ndarray, str, str]]) -> dict[str, Any]:
        """``frames`` float32 [sum of n_frames, mels] or [sum], without padding, and ``n_frames`` int32 [n]."""
        features, speakers, paths = zip(*items, strict=True)
        n_frames = np.array([len(frames) for frames in features], np.int32)
        return {"frames": np.concatenate(features), "n_frames": n_frames, "speakers": speakers, "paths": paths}

    def setup(self, context: Context) -> None:
        """Loads the model on ``context.device``."""
        self._model.load(context)

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``X`` float32 [n, d] (torch, on the model's device), or a list of [segments, d]; and what came with the batch."""
        import torch

        n_frames = batch["n_frames"]
        frames = torch.from_numpy(batch["frames"]).to(self._model.device, self._model.dtype, non_blocking=True)
        spans = [segments(int(length), self._segment, self._segment_hop) for length in n_frames]
        files = zip(frames.split_with_sizes(n_frames.tolist()), spans, strict=True)
        pieces = [features[start:stop] for features, own in files for start, stop in own]
        groups = length_groups(np.array([len(piece) for piece in pieces]), self._max_frames, self._max_padding)
        ordered = torch.cat([self._embed([pieces[row] for row in rows]) for rows in groups])
        back = torch.from_numpy(np.argsort(np.concatenate(groups)))
        vectors = ordered[back.to(ordered.device)]
        outputs = {"n_frames": n_frames, "spk_path": list(batch["paths"])}
        outputs |= {"spk_ids": list(batch["speakers"])} if self._speaker else {}
        if not self._segment:
            return {"X": vectors, **outputs}
        of_files = [one.numpy() for one in vectors.cpu().split_with_sizes([len(own) for own in spans])]
        starts = [np.array([start for start, _ in own], np.float32) / np.float32(self._per_second) for own in spans]
        return {"X": of_files, "starts": starts, **outputs}

    def _embed(self, features: list[Any]) -> Any:
        """Vectors [b, d] of b rows, tensors [frames, mels] or [samples], padded to the longest of them."""
        import torch

        lengths = torch.tensor([len(frames) for frames in features], device=self._model.device)
        return self._model(torch.nn.utils.rnn.pad_sequence(features, batch_first=True), lengths)


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


def segments(length: int, size: int, hop: int) -> list[tuple[int, int]]:
    """Where the segments of a file of so many frames begin and end; with ``size`` 0 it is one.

    After the last one that is whole comes what is left, if it is half a segment or more, or all there is.
    """
    if not size:
        return [(0, length)]
    found = [(0, min(size, length))]
    while found[-1][1] < length and length - found[-1][0] - hop >= size / 2:
        start = found[-1][0] + hop
        found.append((start, min(start + size, length)))
    return found

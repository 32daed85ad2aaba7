"""SoundFile: all of a file's sound, or what is wrong with it. libsndfile decodes; what it takes on trust is checked here.

Files that are cut short are decoded as if they were whole, by their forms: a WAV as far as it goes, an Ogg without its last
page, an MP3 to where the guess of its length ends, a chain of recordings up to the end of the first one.
"""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from jobs.sound import flac, mpeg, ogg, riff
from jobs.sound.damage import CUT_SHORT, DamagedSound

# Headers of files that were written into a pipe claim the largest length there is, 2 or 4 GB.
_STREAMED = 0x7FFF0000
# What libsndfile's log says of a header that tells of more than there is: of sound, or, in W64 and RF64, of the file.
_TOLD = re.compile(r"^ *(?:data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
# Samples by which the length of an MP2 is guessed wrong.
_GUESSED = 2304
_NIST_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
_NIST_HEADER = 1024


def read_sound(path: Path, rate: int, max_seconds: float | None) -> np.ndarray:
    """The file's beginning as float32 [samples] at ``rate`` Hz, channels averaged; raises ValueError where it is damaged."""
    import soundfile
    import soxr

    signals: list[np.ndarray] = []
    seconds = 0.0
    try:
        for source in _parts(path, soundfile.info(path, verbose=True)):
            if max_seconds is not None and seconds >= max_seconds:
                break
            signal, own = _decoded(source, None if max_seconds is None else max_seconds - seconds)
            seconds += len(signal) / own
            signals.append(np.asarray(soxr.resample(signal, own, rate), np.float32))
    except DamagedSound as error:
        raise ValueError(f"{path}: {error}") from None
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: cannot be read as audio: {error.error_string}") from None
    return np.concatenate(signals)


def _parts(path: Path, info: Any) -> list[Path | bytes]:
    """The recordings that the file holds, as libsndfile reads them to their ends; raises DamagedSound."""
    match info.format:
        case "OGG":
            return _unless_alone(path, ogg.links(path.read_bytes()))
        case "MP3":
            return _unless_alone(path, mpeg.recordings(path.read_bytes(), info.frames))
        case "FLAC" if not 0 < info.frames < 1 << 36:
            return [flac.with_length(path.read_bytes())]
        case "FLAC":
            _check_end(path)
        case "WAV" | "WAVEX":
            _check_told(path, info)
            mended = riff.mended(path)
            return [path] if mended is None else [mended]
        case _:
            _check_told(path, info)
    return [path]


def _unless_alone(path: Path, parts: list[bytes]) -> list[Path | bytes]:
    """The file itself where it is all of one part."""
    return [path] if len(parts) == 1 and len(parts[0]) == path.stat().st_size else [*parts]


def _check_told(path: Path, info: Any) -> None:
    """Raises DamagedSound for a file that ends before its header says."""
    cut = _TOLD.search(info.extra_info)
    if cut and int(cut[2]) < int(cut[1]) and not _STREAMED <= int(cut[1]) < 1 << 32:
        raise DamagedSound(f"cut short, it has {cut[2]} of {cut[1]} bytes{CUT_SHORT}")
    if info.format == "NIST":
        with path.open("rb") as file:
            told = _NIST_SAMPLES.search(file.read(_NIST_HEADER))
        if told and info.frames < int(told[1]):
            raise DamagedSound(f"cut short, it has {info.frames} of {told[1].decode()} samples{CUT_SHORT}")


def _check_end(path: Path) -> None:
    """Raises DamagedSound where the last sample that a FLAC's header tells of is not there."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        try:
            file.seek(file.frames - 1)
            found = len(file.read(1))
        except soundfile.LibsndfileError:
            found = 0
    if not found:
        raise DamagedSound(f"cut short or damaged, the last of {file.frames} samples is missing{CUT_SHORT}")


def _decoded(source: Path | bytes, max_seconds: float | None) -> tuple[np.ndarray, int]:
    """Sound, float32 [samples], and its rate; raises DamagedSound where some of it cannot be decoded."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        count = file.frames if max_seconds is None else min(file.frames, max(1, round(max_seconds * file.samplerate)))
        channels = file.read(count, dtype="float32", always_2d=True)
        if len(channels) < count - _GUESSED:
            raise DamagedSound(f"damaged, {len(channels)} of {count} samples can be decoded{CUT_SHORT}")
        signal = channels.mean(axis=1)
        if not np.isfinite(signal).all():
            raise DamagedSound("holds values that are no finite numbers")
        return signal, file.samplerate

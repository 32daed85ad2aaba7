"""read_sound: of whole files all of the sound, of others a message; on files that libsndfile wrote, cut and changed here."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.sound.sound_file import read_sound

RATE, SECONDS = 16_000, 2
COUNT = RATE * SECONDS
NOISE = 0.1 * np.random.default_rng(3).standard_normal(COUNT)


def written(path: Path, subtype: str | None = None, form: str | None = None, **options: object) -> bytes:
    soundfile.write(path, NOISE, RATE, subtype=subtype, format=form, **options)
    return path.read_bytes()


def read(path: Path, data: bytes, max_seconds: float | None = None) -> np.ndarray:
    path.write_bytes(data)
    return read_sound(path, RATE, max_seconds)


def without_tag(mp3: bytes) -> bytes:
    """The frames after that of the tag, which begins with the file."""
    return mp3[mp3.index(mp3[:2], 4) :]


FORMS: dict[str, Callable[[Path], bytes]] = {
    "pcm.wav": written,
    "a-law.wav": lambda path: written(path, "ALAW"),
    "a.aiff": written,
    "a.au": written,
    "a.rf64": lambda path: written(path, "PCM_16", "RF64"),
    "a.w64": lambda path: written(path, "PCM_16", "W64"),
    "a.sph": lambda path: written(path, "PCM_16", "NIST"),
    "a.caf": written,
    "a.flac": written,
    "piped.flac": lambda path: without_length(written(path)),
    "a.ogg": written,
    "a.opus": lambda path: written(path, "OPUS", "OGG"),
    "constant.mp3": lambda path: written(path, bitrate_mode="CONSTANT"),
    "variable.mp3": lambda path: written(path, bitrate_mode="VARIABLE"),
    "constant-without-tag.mp3": lambda path: without_tag(written(path, bitrate_mode="CONSTANT")),
    "variable-without-tag.mp3": lambda path: without_tag(written(path, bitrate_mode="VARIABLE")),
}


def without_length(flac: bytes) -> bytes:
    """As it is written into a pipe: nobody can go back to the header."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


@pytest.mark.parametrize("name", FORMS)
def test_a_whole_file_is_read_whole_and_as_far_as_asked(tmp_path: Path, name: str) -> None:
    data = FORMS[name](tmp_path / name)
    whole = read(tmp_path / name, data)
    assert COUNT <= len(whole) <= COUNT + 2400  # an MP3 without a tag has the silence around the sound, too
    np.testing.assert_array_equal(read(tmp_path / name, data, 0.5), whole[: RATE // 2])


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_file_that_is_cut_short_fails_however_little_of_it_is_asked_for(
    tmp_path: Path, name: str, share: float
) -> None:
    data = FORMS[name](tmp_path / name)
    for max_seconds in (None, 0.5):
        with pytest.raises(ValueError, match=rf"{name}: (cut short|damaged|cannot be read)"):
            read(tmp_path / name, data[: int(len(data) * share)], max_seconds)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "constant.mp3", "variable.mp3", "variable-without-tag.mp3"])
def test_recordings_one_after_another_in_a_file_are_all_read(tmp_path: Path, name: str) -> None:
    data = FORMS[name](tmp_path / name)
    once, twice = (read(tmp_path / name, data * times) for times in (1, 2))
    assert abs(len(twice) - 2 * len(once)) < 600
    np.testing.assert_allclose(twice[: len(once) - 600], once[:-600], atol=1e-6)
    assert len(read(tmp_path / name, data * 2, SECONDS + 1.0)) == COUNT + RATE
    with pytest.raises(ValueError, match="cut short"):
        read(tmp_path / name, data + data[: len(data) // 2])


def test_a_chain_of_two_rates_is_read_at_one(tmp_path: Path) -> None:
    first = written(tmp_path / "a.ogg")
    soundfile.write(tmp_path / "b.ogg", NOISE, 2 * RATE)
    assert len(read(tmp_path / "c.ogg", first + (tmp_path / "b.ogg").read_bytes())) == COUNT + COUNT // 2


@pytest.mark.parametrize("cut_at_a_page", [False, True])
def test_an_ogg_whose_last_page_is_missing_is_cut_short(tmp_path: Path, cut_at_a_page: bool) -> None:
    data = written(tmp_path / "a.ogg")
    end = data.rindex(b"OggS") - (0 if cut_at_a_page else 1)
    with pytest.raises(ValueError, match="cut short"):
        read(tmp_path / "a.ogg", data[:end])


@pytest.mark.parametrize("name", ["a.ogg", "constant.mp3", "constant-without-tag.mp3"])
def test_a_file_whose_second_half_is_zeros_is_damaged(tmp_path: Path, name: str) -> None:
    data = FORMS[name](tmp_path / name)
    half = len(data) // 2
    with pytest.raises(ValueError, match="damaged"):
        read(tmp_path / name, data[:half] + bytes(len(data) - half))


@pytest.mark.parametrize("name", ["constant.mp3", "variable-without-tag.mp3"])
def test_tags_and_a_little_padding_around_an_mp3_are_no_sound(tmp_path: Path, name: str) -> None:
    data = FORMS[name](tmp_path / name)
    id3 = b"ID3\x04\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    ape = b"APETAGEX" + struct.pack("<III", 2000, 32, 0) + bytes(12)
    plain = read(tmp_path / name, data)
    for around in (id3 + data, data + b"TAG" + bytes(125), data + bytes(300), data + ape, id3 + data + id3 + data[:0]):
        assert len(read(tmp_path / name, around)) == len(plain)


def sizes(wav: bytes, whole: int, sound: int) -> bytes:
    place = wav.index(b"data") + 4
    return wav[:4] + struct.pack("<I", whole) + wav[8:place] + struct.pack("<I", sound) + wav[place + 4 :]


@pytest.mark.parametrize(("whole", "sound"), [(36, 0), (0, 0), (2**32 - 1, 2**32 - 1), (0x7FFFF024, 0x7FFFF000)])
def test_a_wav_whose_header_was_never_finished_is_read_to_its_end(tmp_path: Path, whole: int, sound: int) -> None:
    data = written(tmp_path / "a.wav")
    np.testing.assert_array_equal(
        read(tmp_path / "b.wav", sizes(data, whole, sound)), read_sound(tmp_path / "a.wav", RATE, None)
    )


def test_a_wav_whose_header_tells_of_less_than_there_is_is_refused_by_its_header(tmp_path: Path) -> None:
    data = written(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"a\.wav: its header tells of 20000 bytes of sound, but 44000 more follow it"):
        read(tmp_path / "a.wav", sizes(data, len(data) - 8, 20_000))


@pytest.mark.parametrize("more", [b"LIST" + struct.pack("<I", 3000) + bytes(3000), bytes(500), b"x"])
def test_what_else_a_wav_holds_does_not_matter(tmp_path: Path, more: bytes) -> None:
    data = written(tmp_path / "a.wav")
    assert len(read(tmp_path / "a.wav", data + more)) == COUNT


@pytest.mark.parametrize("name", ["a.ogg", "a.flac", "constant.mp3"])
def test_a_few_wrong_bytes_in_the_middle_never_make_a_shorter_recording(tmp_path: Path, name: str) -> None:
    data = bytearray(FORMS[name](tmp_path / name))
    for place in range(len(data) // 2, len(data) // 2 + 40):
        data[place] ^= 0x5A
    try:
        found = read(tmp_path / name, bytes(data))
    except ValueError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert len(found) >= COUNT

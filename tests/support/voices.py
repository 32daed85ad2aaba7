"""Voices: real spoken audio for tests, made by espeak-ng; conftest.py loads this as a plugin.

Where espeak-ng is missing its tests are skipped, with a red section at the end; where CI is set they fail.
"""

import csv
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.examples import THOROUGH

VOICES = ("en+m1", "en+m3", "en+m7", "en+f1", "en+f2", "en+f4", "en+croak", "en+whisper", "en+klatt2", "en+Alicia")
FILES = 500 if THOROUGH else 200
RATES = (8000, 11025, 16000, 22050, 44100, 48000)
TEXT = (
    "every array task of the run opens its shard and reads a range of samples while pool workers load the next batch "
    "into memory nothing is lost when a node goes down because the journal knows what was written seven hours ago"
)
SKIPPED = "no voices for the tests of audio"


@dataclass(frozen=True)
class Speech:
    """``manifest`` has the columns id, path and spk_id; ``paths`` and ``speakers`` are in its order."""

    folder: Path
    manifest: Path
    paths: tuple[Path, ...]
    speakers: tuple[str, ...]


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speech]:
    """200 WAV files (500 each night) of 10 voices, 0.3 to some 5 seconds long, of several sample rates and encodings."""
    if shutil.which("espeak-ng") is None:
        message = f"{SKIPPED}: espeak-ng is missing (Debian: apt-get install espeak-ng)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("speech")
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        paths = list(pool.map(lambda number: _speak(folder, number), range(FILES)))
    speakers = [VOICES[number % len(VOICES)] for number in range(FILES)]
    manifest = folder / "speech.csv"
    with manifest.open("w", newline="") as file:
        rows = [(path.stem, path.name, speaker) for path, speaker in zip(paths, speakers, strict=True)]
        csv.writer(file).writerows([("id", "path", "spk_id"), *rows])
    yield Speech(folder, manifest, tuple(paths), tuple(speakers))
    shutil.rmtree(folder)


def _speak(folder: Path, number: int) -> Path:
    """One file; its words, rate, channels and encoding follow from its number."""
    import soundfile
    import soxr

    dice = random.Random(number)
    text = " ".join(dice.choices(TEXT.split(), k=dice.randint(1, 14)))
    path = folder / f"u{number:03d}.wav"
    subprocess.run(["espeak-ng", "-v", VOICES[number % len(VOICES)], "-w", path, text], check=True)
    signal, rate = soundfile.read(path, dtype="float32")
    wanted = dice.choice(RATES)
    signal = soxr.resample(signal, rate, wanted) if wanted != rate else signal
    channels = signal if dice.random() < 0.7 else signal[:, None].repeat(2, axis=1)
    soundfile.write(path, channels.clip(-1, 1), wanted, subtype=dice.choice(["PCM_16", "PCM_24", "FLOAT"]))
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in red that tests were skipped for want of espeak-ng."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if SKIPPED in str(report.longrepr)]
    if reasons:
        terminalreporter.section("AUDIO TESTS SKIPPED", red=True, bold=True)
        terminalreporter.line(f"{len(reasons)} tests. {reasons[0]}", red=True)

import json

from jobs.kinds import EndReason, FailureKind, Unknown
from jobs.storage.beats import Beat
from jobs.storage.spans import Spans


def test_words_that_only_a_newer_version_knows_are_kept() -> None:
    data = Beat(0, 1.0, end=EndReason.DONE, kind=FailureKind.ERROR).to_json() | {"end": "tired", "kind": "HUNGRY"}
    found = Beat.from_json(json.loads(json.dumps(data)))

    assert (found.end, found.kind) == (Unknown("tired"), Unknown("HUNGRY"))


def test_what_was_taken_of_another_run_is_read_as_it_was_written() -> None:
    beat = Beat(0, 1.0, taken={1: Spans([(0, 8), (12, 16)]), 3: Spans([(8, 12)])})
    assert Beat.from_json(json.loads(json.dumps(beat.to_json()))) == beat


def test_a_beat_of_a_version_that_took_nothing_is_read() -> None:
    data = Beat(0, 1.0).to_json()
    del data["taken"]
    assert Beat.from_json(json.loads(json.dumps(data))) == Beat(0, 1.0)

import json

from jobs.kinds import EndReason, FailureKind, Unknown
from jobs.storage.beats import Beat


def test_words_that_only_a_newer_version_knows_are_kept() -> None:
    data = Beat(0, 1.0, end=EndReason.DONE, kind=FailureKind.ERROR).to_json() | {"end": "tired", "kind": "HUNGRY"}
    found = Beat.from_json(json.loads(json.dumps(data)))

    assert (found.end, found.kind) == (Unknown("tired"), Unknown("HUNGRY"))

"""SampleCounts: how many samples of one of several manifests there are, in each state."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.storage.records import Part
from launcher.runs.shard_states import Shards

if TYPE_CHECKING:
    from launcher.documents.status import ManifestDocument, SamplesDocument


@dataclass(frozen=True)
class SampleCounts:
    """How many samples there are, of one of several manifests."""

    name: str
    total: int
    ok: int
    failed: int

    @classmethod
    def of(cls, part: Part, shards: Shards) -> "SampleCounts":
        return cls(str(part.name), part.rows, *shards.samples_within(part.start, part.stop))

    def to_json(self) -> "ManifestDocument":
        return {"name": self.name, "samples": samples_json(self.total, self.ok, self.failed)}


def samples_json(total: int, ok: int, failed: int) -> "SamplesDocument":
    """Of all samples, as in the document."""
    return {"total": total, "ok": ok, "failed": failed, "missing": total - ok - failed}

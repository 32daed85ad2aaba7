"""DataSection: the samples of a config: their sources, or the run whose samples they are, and how they are cut into shards."""

from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from launcher.config.sections import Section
from launcher.config.values import Column, Count, NameList, Names, PathText, check_manifest
from launcher.manifest.formats import KINDS


def is_of_run(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether data.manifest says the samples of another run; several manifests cannot have one of that name."""
    return isinstance(value, dict) and "run" in value


class RunManifest(Section):
    """The samples of another run: its rows, columns of its manifest (None: all), and some of its outputs as columns.

    ``overlap``: they are taken while that one goes on, as it does them.
    """

    run: PathText
    manifest: Column | None = None
    columns: NameList | None = None
    outputs: NameList = ()
    failed: Literal["omit", "keep"] = "omit"
    # None for false: runs that were planned before there was this key have not changed.
    overlap: Annotated[bool | None, AfterValidator(lambda value: value or None)] = None

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if self.overlap and self.failed != "keep":
            raise ValueError(
                "overlap: true needs failed: keep. Which samples fail is known when the other run has ended, so they are "
                "samples here too, and fail; node.max_failed_samples has to allow as many"
            )
        return self


def _manifest(value: Any) -> "str | tuple[str, ...] | dict[str, str | tuple[str, ...]] | RunManifest":
    if isinstance(value, RunManifest) or is_of_run(value):
        return RunManifest.model_validate(value)
    return check_manifest(value)


class DataSection(Section):
    """The samples, and how they are cut into shards."""

    manifest: Annotated[Names | dict[str, Names] | RunManifest, BeforeValidator(_manifest)] = Field(
        description=f"a {KINDS}, a glob of sample files, a URL of such (s3://...), a list of these, or several: "
        "{train: a.csv, test: b.csv}, with a result each. "
        "{run: NAME, columns: [...], outputs: [...], failed: omit or keep, overlap: true or false}: "
        "the samples of another run"
    )
    id: Column | None = Field(
        default=None, description="column of unique ids; null: the row number (a glob: the path; tars: tar and key)"
    )
    cost: Column | None = Field(
        default=None,
        description="column of numbers to balance shards by, dearest samples first; null: all cost the same",
    )
    shards: Count | None = Field(
        default=None, description="number of shards; null: from the number of samples, 1000 at most"
    )
    samples_per_shard: Count | None = Field(default=None, description="instead of data.shards")
    order: Literal["sequential", "parallel"] = Field(
        default="sequential", description="several manifests: one after another, or side by side (parallel)"
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources of all manifests."""
        if isinstance(self.manifest, RunManifest):
            return ()
        if isinstance(self.manifest, dict):
            return tuple(source for sources in self.manifests.values() for source in sources)
        return (self.manifest,) if isinstance(self.manifest, str) else self.manifest

    @property
    def of_run(self) -> RunManifest | None:
        """Where the samples are those of another run."""
        return self.manifest if isinstance(self.manifest, RunManifest) else None

    @property
    def manifests(self) -> dict[str, tuple[str, ...]]:
        """The sources of each of several manifests by its name; empty where there is one."""
        named = self.manifest if isinstance(self.manifest, dict) else {}
        return {name: (sources,) if isinstance(sources, str) else sources for name, sources in named.items()}

"""Tars as manifests: a sample for each key, by headers alone; what a Job gets are the bytes of its files, or nothing."""

import io
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.storage.records import Part
from jobs.storage.samples import Samples
from jobs.storage.spans import Spans
from launcher.manifest.braces import braced
from launcher.manifest.formats import open_source
from launcher.manifest.manifest import ManifestInfo, build_manifest
from launcher.manifest.run_source import RunSource
from launcher.manifest.sources import Source
from tests.launcher.manifest.source_tests import SourceTests
from tests.support.tars import write_tar

_END = bytes(1024)
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def write_members(path: Path, members: Iterable[tarfile.TarInfo], form: int = tarfile.GNU_FORMAT) -> None:
    """Members that are no files, or say that they are none."""
    with tarfile.open(path, "w", format=form) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))


def plan(folder: Path, entry: str | Sequence[str] = "a.tar", cost: str | None = None) -> tuple[ManifestInfo, Samples]:
    info = build_manifest(entry, folder / "manifest.arrow", None, cost, folder=folder)
    return info, Samples(folder / "manifest.arrow", info.digests)


def told(folder: Path, entry: str = "a.tar") -> str:
    with pytest.raises(InputError) as caught:
        plan(folder, entry)
    return str(caught.value)


class TestTarSource(SourceTests):
    ids = ("t.tar/a", "t.tar/b/a", "t.tar/b/ü", "t.tar/c", "t.tar/d")

    def make(self, folder: Path) -> Source:
        names = [one.removeprefix("t.tar/") for one in self.ids]
        write_tar(folder / "t.tar", [(f"{name}.{kind}", name.encode()) for name in names for kind in ("txt", "cls")])
        return open_source("t.tar", folder, ())

    def take_away(self, folder: Path) -> None:
        (folder / "t.tar").unlink()


class TestTarsWithBraces(TestTarSource):
    ids = ("t-0.tar/a", "t-1.tar/a", "t-1.tar/b", "t-3.tar/a", "t-3.tar/b")

    def make(self, folder: Path) -> Source:
        for number, keys in enumerate(("a", "ab", "", "ab")):
            write_tar(folder / f"t-{number}.tar", [(f"{key}.txt", b"") for key in keys])
        return open_source("t-{0..3}.tar", folder, ())

    def take_away(self, folder: Path) -> None:
        (folder / "t-1.tar").unlink()

    def test_its_state_tells_of_a_change_of_any_tar(self, source: Source, tmp_path: Path) -> None:
        before = source.state()
        write_tar(tmp_path / "t-2.tar", [("c.txt", b"x" * 20000)])
        assert source.state() != before


class TestTarPattern(TestTarsWithBraces):
    def make(self, folder: Path) -> Source:
        super().make(folder)
        return open_source("t-*.tar", folder, ())


# Not at the end of a name a dot, which would begin an extension.
names = st.from_regex(r"[ab/ü._ ]{0,8}[abü_ ]", fullmatch=True) | st.text("xy", min_size=90, max_size=300)
kinds = st.sampled_from(["jpg", "JPG", "txt", "seg.png", "id", "tar"])
tars = st.dictionaries(names, st.dictionaries(kinds, st.binary(max_size=1500), min_size=1, max_size=3), max_size=8)


def as_webdataset(files: Iterable[tuple[str, bytes]]) -> dict[str, dict[str, bytes]]:
    """The samples in these files by their keys, as slowly as can be."""
    found: dict[str, dict[str, bytes]] = {}
    for name, data in files:
        folder, slash, base = name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if stem and dot and extension:
            extension = extension.lower()
            column = f".{extension}" if extension in ("id", "key", "tar", "size") else extension
            found.setdefault(f"{folder}{slash}{stem}", {})[column] = data
    return found


@settings(max_examples=40)
@given(samples=tars, form=st.sampled_from(FORMATS))
def test_every_file_of_every_sample_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, samples: Mapping[str, Mapping[str, bytes]], form: int
) -> None:
    folder = tmp_path_factory.mktemp("tars")
    by_name = {
        f"{stem}.{kind}".lower(): (f"{stem}.{kind}", data) for stem in samples for kind, data in samples[stem].items()
    }
    files = sorted(by_name.values(), key=lambda file: sort_key(file[0]))
    try:
        write_tar(folder / "a.tar", files, form)
    except ValueError:  # no room for such a name in the oldest form
        return
    expected = as_webdataset(files)
    if not expected:
        assert "no samples" in told(folder)
        return
    _, read = plan(folder)
    found = {sample["key"]: dict(sample) for sample in read.rows(0, len(read))}
    assert list(found) == list(expected)
    for key, sample in found.items():
        assert {name: data for name, data in sample.items() if isinstance(data, bytes)} == expected[key]
        assert sample["id"] == f"a.tar/{key}"


def sort_key(name: str) -> tuple[str, str]:
    """By which the files of a sample lie together."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension


def test_an_extension_that_a_sample_lacks_is_none(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b"1"), ("a.txt", b""), ("b.jpg", b"2")])
    info, samples = plan(folder)
    assert info.id == "id"
    assert samples.columns == {"id": "string", "key": "string", "tar": "string", "jpg": "in tar", "txt": "in tar"}
    assert [(sample["jpg"], sample["txt"]) for sample in samples.rows(0, 2)] == [(b"1", b""), (b"2", None)]


def test_that_a_sample_has_a_file_is_known_without_reading_it(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.txt", b"text"), ("a.cls", b"1")])
    sample = next(plan(folder)[1].rows(0, 1))
    (folder / "a.tar").unlink()
    assert ("txt" in sample, "jpg" in sample, "txt" in list(sample)) == (True, False, True)
    with pytest.raises(OSError, match=r"a\.tar"):
        sample["txt"]


def test_the_cost_of_a_sample_may_be_the_bytes_of_its_files(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b"123"), ("a.txt", b"4"), ("b.jpg", b"")])
    _, samples = plan(folder, cost="size")
    assert [sample["size"] for sample in samples.rows(0, 2)] == [4, 0]


def test_dots_in_folders_are_no_extensions_and_what_has_none_is_of_no_sample(folder: Path) -> None:
    names = ("v1.0/a.jpg", "./b.tar.gz", "README", "v1.0/.DS_Store", "v1.0/._a.jpg", "__index__")
    write_tar(folder / "a.tar", [(name, b"") for name in names])
    _, samples = plan(folder)
    assert [sample["key"] for sample in samples.rows(0, 2)] == ["v1.0/a", "./b"]


def test_long_names_of_every_form_are_whole(folder: Path) -> None:
    name = f"{'folder/' * 30}ü{'x' * 200}"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        write_tar(folder / "a.tar", [(f"{name}.jpg", b"1")], form)
        _, samples = plan(folder)
        (sample,) = samples.rows(0, 1)
        assert (sample["key"], sample["jpg"]) == (name, b"1")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_bodies_are_passed_over_whatever_their_size(folder: Path, form: int) -> None:
    """Of 36 GB that are holes nothing is read, or this would take a minute."""
    size = 12 << 30  # with which octal digits have no room for the size
    with (folder / "a.tar").open("wb") as file:
        for key in "abc":
            member = tarfile.TarInfo(f"{key}.bin")
            member.size = size
            file.write(member.tobuf(form))  # type: ignore[arg-type] # one of three
            file.seek(size, os.SEEK_CUR)
        file.write(b"".join([tarfile.TarInfo("d.bin").tobuf(), _END]))
    info, _ = plan(folder)
    cells = pa.ipc.open_file(folder / "manifest.arrow").read_all()["bin"].to_pylist()
    assert [cell["size"] for cell in cells] == [size, size, size, 0]
    assert info.rows == 4


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "a.jpg"
    return member


def sparse() -> tarfile.TarInfo:
    member = tarfile.TarInfo("b.jpg")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return member


@pytest.mark.parametrize(
    ("member", "form", "words"),
    [
        (link("b.jpg", tarfile.SYMTYPE), tarfile.GNU_FORMAT, "b.jpg is a link; write the tar with --dereference"),
        (link("b.jpg", tarfile.LNKTYPE), tarfile.GNU_FORMAT, "b.jpg is a link to another file of it"),
        (link("b.jpg", tarfile.FIFOTYPE), tarfile.GNU_FORMAT, "b.jpg is no file"),
        (link("b.jpg", tarfile.GNUTYPE_SPARSE), tarfile.GNU_FORMAT, "b.jpg is stored with its holes left out"),
        (sparse(), tarfile.PAX_FORMAT, "b.jpg is stored with its holes left out"),
        (tarfile.TarInfo("a.JPG"), tarfile.GNU_FORMAT, "has a.JPG twice, at bytes 512 and 1,024"),
    ],
)
def test_what_has_no_bytes_of_its_own_is_refused_not_left_out(
    folder: Path, member: tarfile.TarInfo, form: int, words: str
) -> None:
    write_members(folder / "a.tar", [tarfile.TarInfo("a.jpg"), member], form)
    assert told(folder).startswith(f"a.tar: {words}")


@pytest.mark.parametrize("size", ["9" * 5000, "-512", "1_0", "x"])
def test_a_size_in_an_extended_header_is_a_number(folder: Path, size: str) -> None:
    member = tarfile.TarInfo("a.jpg")
    member.pax_headers = {"size": size}
    write_members(folder / "a.tar", [member], tarfile.PAX_FORMAT)
    assert "has an extended header with the size" in told(folder)


def test_folders_and_links_that_are_of_no_sample_are_passed_over(folder: Path) -> None:
    x = tarfile.TarInfo("x.d")
    x.type = tarfile.DIRTYPE
    write_members(folder / "a.tar", [x, link("latest", tarfile.SYMTYPE), tarfile.TarInfo("x.d/a.jpg")])
    assert plan(folder)[0].rows == 1


def test_files_of_a_sample_that_do_not_lie_together_are_refused(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b""), ("b.jpg", b""), ("a.txt", b"")])
    assert "a.tar: the files of 'a' do not lie one after another; write it by the order of names" in told(folder)


def test_a_tar_that_was_cut_short_anywhere_is_refused(folder: Path) -> None:
    write_tar(folder / "whole.tar", [(f"{key}.jpg", key.encode() * 600) for key in "abc"])
    whole = (folder / "whole.tar").read_bytes()
    end = 3 * (512 + 1024)
    for length in (0, 100, 512, 700, 1536, end - 1, end, end + 100):
        (folder / "a.tar").write_bytes(whole[:length])
        assert "cut short" in told(folder), length
    for length in (end + 512, end + 1024):
        (folder / "a.tar").write_bytes(whole[:length])
        assert plan(folder)[0].rows == 3


def test_tars_joined_by_cat_are_refused_not_read_to_the_first_end(folder: Path) -> None:
    write_tar(folder / "b.tar", [("b.jpg", b"")])
    (folder / "a.tar").write_bytes((folder / "b.tar").read_bytes() * 2)
    assert "goes on behind its end" in told(folder)


def test_a_damaged_header_is_told_with_its_place(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b""), ("b.jpg", b"")])
    data = bytearray((folder / "a.tar").read_bytes())
    data[512 + 3] ^= 1
    (folder / "a.tar").write_bytes(data)
    assert "a.tar: cannot be read at byte 512: is no header of a tar" in told(folder)


@pytest.mark.parametrize(
    "size", [b"-0001000", b"+0001000", b"1_0", b"9", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"777777777777"]
)
def test_sizes_that_are_none_are_refused_and_none_leads_back(folder: Path, size: bytes) -> None:
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (folder / "a.tar").write_bytes(header + _END)
    assert told(folder).startswith("a.tar: ")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "{a,b}.tar.zst", "a.tar.xz"])
def test_a_compressed_tar_is_refused_with_why(folder: Path, name: str) -> None:
    assert "has to be unpacked from its beginning to reach any of its files" in told(folder, name)


def test_a_compressed_tar_that_is_called_otherwise_is_told(folder: Path) -> None:
    (folder / "a.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "a.tar: cannot be read at byte 0: what is there is compressed: unpack it" in told(folder)


def test_names_with_dots_that_make_a_kind_of_each_file_are_refused(folder: Path) -> None:
    write_tar(folder / "a.tar", [(f"{n}.{n}.jpg", b"") for n in range(200)])
    assert "has files of over 100 kinds" in told(folder)


def test_an_empty_tar_has_no_samples_and_one_of_several_may_be(folder: Path) -> None:
    write_tar(folder / "a.tar", [])
    assert "no samples" in told(folder)
    write_tar(folder / "b.tar", [("a.jpg", b"")])
    assert plan(folder, "{a,b}.tar")[0].rows == 1


def test_a_tar_that_is_missing_is_told_with_one_that_is_near(folder: Path) -> None:
    write_tar(folder / "train-00.tar", [("a.jpg", b"")])
    assert (
        told(folder, "train-{00..01}.tar") == "train-01.tar: no such file (data.manifest); did you mean train-00.tar?"
    )
    assert "no file matches x*.tar" in told(folder, "x*.tar")
    (folder / "folder.tar").mkdir()
    assert told(folder, "folder.tar") == "folder.tar: is a folder, not a file (data.manifest)"


@pytest.mark.parametrize("stem", ["", "ü", "x" * 120])
@pytest.mark.parametrize("change", ["removed", "shortened", "shuffled"])
def test_a_tar_that_has_changed_gives_no_other_bytes(folder: Path, change: str, stem: str) -> None:
    write_tar(folder / "a.tar", [(f"{stem}a.npy", b"1" * 600), (f"{stem}b.npy", b"2" * 600)])
    _, samples = plan(folder)
    (folder / "a.tar").unlink()
    if change == "shortened":
        write_tar(folder / "a.tar", [(f"{stem}a.npy", b"1")])
    if change == "shuffled":
        write_tar(folder / "a.tar", [(f"{stem}b.npy", b"2" * 600), (f"{stem}a.npy", b"1" * 600)])
    for sample in samples.rows(0, 2):
        with pytest.raises(OSError, match=r"a\.tar") as caught:
            sample["npy"]
        assert change == "removed" or "it has changed since the run was planned" in str(caught.value)


def test_a_run_after_another_reads_the_files_of_its_samples(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b"1"), ("a.txt", b"one"), ("b.jpg", b"2")])
    (folder / "run").mkdir()
    plan(folder)[1]
    source = RunSource(folder / "manifest.arrow", Part(None, 0, 2), Spans([(0, 1)]), "id", ["txt", "jpg"], [])
    build_manifest(source, folder / "later.arrow", source.id_column, None)
    (sample,) = Samples(folder / "later.arrow").rows(0, 1)
    assert (sample.id, sample["jpg"], sample["txt"]) == ("a.tar/b", b"2", None)


def test_a_column_of_files_is_no_id_and_no_cost(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.jpg", b"1")])
    with pytest.raises(InputError, match=r"column 'jpg' cannot be data\.cost: it is read when a task asks for it"):
        plan(folder, cost="jpg")


def test_a_column_is_files_in_all_manifests_of_a_run_or_in_none(folder: Path) -> None:
    write_tar(folder / "a.tar", [("a.text", b"1")])
    (folder / "b.csv").write_text("text\nb\n")
    with pytest.raises(InputError, match="column 'text'"):
        build_manifest({"a": ["a.tar"], "b": ["b.csv"]}, folder / "manifest.arrow", None, None)


def test_another_manifest_of_the_same_columns_does_not_go_on_with_files(folder: Path) -> None:
    """Or their places would be taken for what lies there."""
    write_tar(folder / "a.tar", [("a.jpg", b"1")])
    plan(folder)
    before = pa.ipc.open_file(folder / "manifest.arrow").schema
    table = pa.ipc.open_file(folder / "manifest.arrow").read_all().replace_schema_metadata(None)
    with pa.ipc.new_file(str(folder / "b.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="column 'jpg' lies in another kind of file"):
        build_manifest("b.arrow", folder / "c.arrow", "id", None, like=before)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{0..10}", [str(number) for number in range(11)]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{a}{}", ["{a}{}"]),
    ],
)
def test_braces_are_those_of_a_shell(text: str, names: list[str]) -> None:
    assert list(braced(text)) == names


def test_tables_with_braces_are_as_many_in_that_order(folder: Path) -> None:
    for number in range(9, 12):
        (folder / f"{number}.csv").write_text(f"x\n{number}\n")
    (folder / "{a,b}.csv").write_text("x\nthe name of a file\n")
    info, samples = plan(folder, "{9..11}.csv")
    assert [sample["x"] for sample in samples.rows(0, 3)] == [9, 10, 11]
    assert len(info.sources) == 3
    assert [sample["x"] for sample in plan(folder, "{a,b}.csv")[1].rows(0, 1)] == ["the name of a file"]


def test_numbers_in_braces_that_are_a_slip_are_refused() -> None:
    with pytest.raises(InputError, match="are over 1,000,000 names"):
        list(braced("{0..10000000000}"))
    with pytest.raises(InputError, match="are over 1,000,000 names"):
        list(braced("{0..99999}{0..99999}"))

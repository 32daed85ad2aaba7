"""Units: sbatch's sizes and times are read and written without a loss, and people read short ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.units import (
    clock_time,
    counted,
    decimal_size,
    format_memory,
    format_time,
    gibibytes,
    parse_memory,
    parse_time,
    rough_time,
    short_number,
    short_size,
)


@given(st.integers(1, 2**50))
def test_sizes_read_back_as_written_rounded_up_to_megabytes(size: int) -> None:
    assert parse_memory(format_memory(size)) == -(-size // 2**20) * 2**20


@given(st.integers(1, 10**9))
def test_times_read_back_as_written(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64G", 64 << 30), ("1.5T", 3 << 39), (500, 500 << 20), ("2 GiB", 2 << 30), ("10kb", 10 << 10)],
)
def test_sizes_are_those_of_sbatch(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 1800),
        ("1:30", 90),
        ("4:00:00", 14400),
        ("2-0", 172800),
        ("1-12:30", 131400),
        ("1-00:00:01", 86401),
    ],
)
def test_times_are_those_of_sbatch(text: str | int, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "G", "-1G", "1.G", "64GX", True, None, "1,5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_memory(text)


@pytest.mark.parametrize("text", ["", "1:2:3:4", "-5", "1-", "UNLIMITED", True, None, "0:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_time(text)


def test_durations() -> None:
    assert [clock_time(seconds) for seconds in (0, 59.6, 3600, 90061)] == ["0:00:00", "0:01:00", "1:00:00", "25:01:01"]


def test_sizes_for_people() -> None:
    assert (short_size(3 << 29), gibibytes(3 << 29), gibibytes(5 << 28, 2)) == ("1.5G", "1.5 GiB", "1.25 GiB")
    assert [short_size(size) for size in (0, 1, 300 << 20, (1 << 30) - 1, 1 << 30)] == [
        "0M",
        "1M",
        "300M",
        "1024M",
        "1.0G",
    ]
    sizes = [decimal_size(size) for size in (0, 999, 1234, 5.25e6, 1e15)]
    assert sizes == ["0 bytes", "999 bytes", "1.23 KB", "5.25 MB", "1e+03 TB"]


def test_rough_times_have_one_number() -> None:
    assert [rough_time(seconds) for seconds in (90, 2700, 9000)] == ["90.0 s", "45 min", "2.5 h"]


def test_numbers_have_four_digits_and_no_exponent() -> None:
    assert [short_number(value) for value in (24_330.4, 1000.0, 999.96, 2.4333, 0.0)] == [
        "24,330",
        "1,000",
        "1000",
        "2.433",
        "0",
    ]


def test_one_is_counted_without_a_plural() -> None:
    assert [counted(1, "CPU"), counted(2, "CPU"), counted(2, "process", "processes")] == [
        "1 CPU",
        "2 CPUs",
        "2 processes",
    ]

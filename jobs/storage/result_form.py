"""ResultForm: in which form a result is written; its rows are the same in any."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ResultForm:
    """``max_file_size``: bytes of each of its files, at most (None: it is one file).

    ``compression``: of its outputs: "gzip", or "" for none.
    """

    max_file_size: int | None = None
    compression: str = ""


PLAIN = ResultForm()

"""File names: where below a folder a download goes, so that it stays there and no two go to the same place."""

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from jobs.http.part_file import CHECKPOINT, PART

_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")
# File systems allow 255 bytes; a part and its checkpoint have longer names than the file.
_LONGEST = 200


def name_of_url(url: str) -> str:
    """A relative path of its own for each url, kept apart by 96 bits of its sha256; the end of the url is for people."""
    digest = hashlib.sha256(url.encode()).hexdigest()
    try:
        path = urlsplit(url).path
    except ValueError:  # it is no url, as whoever asks for it is told
        path = ""
    readable = _STRANGE.sub("_", unquote(path.rpartition("/")[2]))[-60:]
    name = f"{digest[:2]}/{digest[:24]}-{readable}".removesuffix("-")
    return name + "_" if name.endswith((PART, CHECKPOINT)) else name


def checked_name(name: str) -> str:
    """The name, if it is a relative path that stays below its folder and is no part's; raises ValueError."""
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts and name.isprintable()
    if not plain or name == "." or name.endswith((PART, CHECKPOINT)) or len(path.name.encode()) > _LONGEST:
        raise ValueError(
            f"file name {name!r} is not valid; valid: a relative path without .. and //, printable, its last part of "
            f"{_LONGEST} bytes at most, not ending in {PART} or {CHECKPOINT}"
        )
    return name

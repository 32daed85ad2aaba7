"""Dispatch: a notice on its way: to a command, which reads it, or to a server, by POST. Each is given a minute."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.deadline import within
from jobs.variables import put_in

SECONDS = 60.0
_NOTICE = "LAUNCHER_NOTICE"
_SERVER = re.compile(r"https?://(?:[^/?#@]*@)?([^/?#@]+)")


class Undelivered(Exception):
    """Nobody was told; the text says why, without what may be secret."""


def in_short(target: str | Sequence[str]) -> str:
    """The program, or the server: what else is in a command or URL may be secret."""
    if not isinstance(target, str):
        return target[0]
    found = _SERVER.match(target)
    return found[1] if found else "a URL"


def deliver(target: str | Sequence[str], document: Mapping[str, Any], folder: Path) -> None:
    """Sends a document; raises Undelivered where nobody took it, or not in time. Commands run in ``folder``."""
    if isinstance(target, str):
        url, body = _filled(target), json.dumps(document).encode()
        try:
            within(SECONDS, lambda: _request(url, body))
        except TimeoutError:
            raise Undelivered(f"no answer within {SECONDS:.0f} s") from None
    else:
        _run([word.format_map(document) for word in target], document, folder)


def doubts(target: str | Sequence[str] | None, folder: Path) -> list[str]:
    """Why nobody may be told, as far as it can be seen before the run: it may end on another machine."""
    if target is None:
        return []
    if isinstance(target, str):
        try:
            _filled(target)
        except Undelivered:
            return ["notify: a variable of its URL is not set here; it has to be where the run ends"]
    elif shutil.which(target[0] if "/" not in target[0] else folder / target[0]) is None:
        return [f"notify: there is no program {target[0]} here; it has to be where the run ends"]
    return []


def _run(words: Sequence[str], document: Mapping[str, Any], folder: Path) -> None:
    """The command reads the text; the whole document is in its environment. What it prints goes where we print."""
    environment = {**os.environ, _NOTICE: json.dumps(document)}
    text = f"{document['text']}\n".encode(errors="backslashreplace")
    try:
        # Not to our stdout, which may be a document.
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=2, cwd=folder, env=environment, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise Undelivered(f"the command cannot be started: {getattr(error, 'strerror', None) or error}") from None
    with process:
        try:
            process.communicate(text, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started; its pid is not given away before we wait
            process.wait()
            raise Undelivered(f"the command had not ended after {SECONDS:.0f} s, and was killed") from None
    if process.returncode:
        raise Undelivered(f"the command ended with exit status {process.returncode}")


def _filled(url: str) -> str:
    """A URL with its variables put in here and now, so that none of them is in a file of the run."""
    return put_in(url, lambda name: Undelivered(f"the variable {name} of its URL is not set where the run ended"))


def _request(url: str, body: bytes) -> None:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    from launcher import __version__

    class Refusing(HTTPRedirectHandler):
        """A POST that is sent elsewhere would arrive as a GET, without its text."""

        def redirect_request(self, *_: Any) -> None:
            return None

    headers = {"Content-Type": "application/json", "User-Agent": f"launcher/{__version__}"}
    try:
        with build_opener(Refusing).open(Request(url, body, headers), timeout=SECONDS):
            return
    except HTTPError as error:
        error.close()
        raise Undelivered(f"it answers {error.code} {error.reason}") from None
    except URLError as error:
        raise Undelivered(str(error.reason)) from None
    except TimeoutError:
        raise
    except (OSError, ValueError, HTTPException) as error:  # its words may have the whole URL
        raise Undelivered(f"it cannot be asked ({type(error).__name__})") from None

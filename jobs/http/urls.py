"""Urls: which ones can be asked for, and how messages show them."""

import re

import httpx2

_VALID = "valid: http://host/path or https://host/path"
# A message has room for the reason, too.
_LONGEST_SHOWN = 160
_USER = re.compile(r"(?<=//)[^/]*@")


class BadUrl(Exception):
    """A url that nobody can be asked for; its text says what is wrong with it."""


def parsed_url(text: str) -> httpx2.URL:
    """The url, without blanks around it; raises BadUrl."""
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as error:
        raise BadUrl(f"{str(error).rstrip('.')}; {_VALID}") from None
    check_url(url)
    return url


def check_url(url: httpx2.URL) -> None:
    """Raises BadUrl for what the network would refuse in words of its own; a redirection may lead to it, too."""
    host = url.raw_host.decode("ascii", "replace")
    if not url.scheme:
        raise BadUrl(f"the url has no scheme; {_VALID}")
    if url.scheme not in ("http", "https"):
        raise BadUrl(f"the url's scheme, {url.scheme}, is not supported; {_VALID}")
    if not host:
        raise BadUrl(f"the url has no host; {_VALID}")
    if "%" in host or len(host) > 253 or max(map(len, host.split("."))) > 63:
        raise BadUrl(f"the url's host cannot be the name of one; {_VALID}")
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise BadUrl(f"the url's port, {url.port}, is not valid; valid: 1 to 65535")


def shown(url: str) -> str:
    """The url for a message: without user, password and what is in its query, which may be secret."""
    text, query, _ = _USER.sub("", url.strip()).partition("?")
    text = f"{text}?..." if query else text
    text = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return text if text.isprintable() and text else repr(text)

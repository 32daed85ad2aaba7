"""Base URL: where a server listens that runs by itself, as a parameter has it; and where its key is."""

from urllib.parse import urlsplit

from jobs.errors import InputError
from jobs.inputs import bad_parameter

KEY = "OPENAI_API_KEY"
"""The variable of the task that has the server's key."""

# A proxy's own localhost is another one.
_HERE = ("localhost", "127.0.0.1", "::1")


def check_url(base_url: str) -> None:
    """Raises InputError, without what is secret in it."""
    try:
        parts = urlsplit(base_url)
        is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, AttributeError):  # its port is no number; it is no text
        raise _bad(base_url) from None
    if parts.username is not None:
        raise InputError(
            "job.params: base_url: with a name or a password in it all who may read the run would know them; valid: one "
            f"without, the key in ${KEY} of the task"
        )
    if not is_valid or parts.query or parts.fragment:
        raise _bad(base_url)


def proxy_to(base_url: str) -> str | None:
    """The HTTP proxy of the environment (http_proxy, https_proxy, all_proxy), unless no_proxy has the server, or it is here."""
    from urllib.request import getproxies, proxy_bypass  # in processes alone

    parts, proxies = urlsplit(base_url), getproxies()
    if parts.hostname in _HERE:
        return None
    proxy = "" if proxy_bypass(parts.netloc) else proxies.get(parts.scheme, proxies.get("all", ""))
    proxy = proxy if "://" in proxy or not proxy else f"http://{proxy}"
    return proxy if proxy.startswith(("http://", "https://")) else None


def _bad(base_url: object) -> InputError:
    return bad_parameter("base_url", base_url, "one that begins with http:// or https://, such as http://host:8000/v1")

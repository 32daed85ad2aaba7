"""The user that this process runs as."""

import os
import pwd


def user_name() -> str:
    """The name of its effective user id, or that as a number where it has none (a container)."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)

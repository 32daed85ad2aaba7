"""Permissions: of the files that our processes, and those of their Jobs, make."""

import os
import stat


def keep_out_others() -> None:
    """From here on nothing is made that everybody may write, whatever the umask was; what the group may do stays as it was."""
    umask = os.umask(0o077)  # it can only be read by setting it
    os.umask(umask | stat.S_IWOTH)

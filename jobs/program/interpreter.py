"""Interpreter: the program that a script names in its first line, and what is wrong where the kernel does not find it.

Then execve(2) says of the script itself that there is no such file. Why another program cannot be started is here, too.
"""

import errno
import os
import re
import shutil

_FIRST_LINE = 256


def script_problem(program: str) -> str | None:
    """Why a script cannot be started though it is there; None of a program that is none, or has its interpreter."""
    try:
        with open(shutil.which(program) or program, "rb") as file:
            line = file.readline(_FIRST_LINE)
    except OSError:
        return None
    if not line.startswith(b"#!"):
        return None
    shown = repr(line.rstrip(b"\n").decode(errors="replace"))
    if line.endswith(b"\r\n"):
        return (
            f"the line ends of {program} are those of Windows, so there is no interpreter {shown}: dos2unix mends that"
        )
    name = os.fsdecode(re.split(rb"[ \t\n]", line[2:].strip(b" \t\n"))[0])
    return None if os.path.exists(name) else f"the interpreter that {program} names is not on this node: {shown}"


def why_not_started(program: str, error: OSError) -> str:
    """What the error of starting it means; raises that of a machine that is short of memory."""
    match error.errno:
        case errno.ENOMEM:
            raise error
        case errno.ENOENT:
            return script_problem(program) or f"this node has no program {program!r}"
        case errno.ENOEXEC:
            return f"{program} is no program of this machine; a script begins with a line such as #!/bin/sh"
        case errno.E2BIG:
            return f"the arguments of {program} are longer than the system takes; give long text as stdin"
        case _:
            return f"{program} cannot be started: {error.strerror}"

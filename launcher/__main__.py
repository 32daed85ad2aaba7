"""``python -m launcher``: the same as the command ``launcher``."""

import os
import sys
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    # `python -m` puts the working directory first on the import path. Array tasks do not have it there, so a Job that only
    # it could provide must not be found at planning either. Before any import of ours: it may have a package `jobs`.
    with suppress(FileNotFoundError):  # it may be gone, which shardrun tells
        if sys.path[0] == os.getcwd() != str(Path(__file__).parents[1]):
            del sys.path[0]
    from shardrun import main

    sys.exit(main())

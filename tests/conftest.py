"""What all tests share: the fixtures for a real Slurm and for real speech, and signals as in a terminal."""

import signal

pytest_plugins = ["tests.support.slurm_fixtures", "tests.support.voices"]

# A shell that starts the tests in the background makes them ignore SIGINT, and nohup SIGHUP. All that the tests start would
# inherit that, and what they interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

"""What all tests share: fixtures for a real Slurm and real speech, signals as in a terminal, time for generated cases."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.slurm_fixtures", "tests.support.voices"]

# A shell that starts the tests in the background makes them ignore SIGINT, and nohup SIGHUP. All that the tests start would
# inherit that, and what they interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A loaded machine is slow to make examples and to run them, which is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

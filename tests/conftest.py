"""What all tests share: the fixtures for tests against a real Slurm."""

pytest_plugins = ["tests.slurm_fixtures"]

"""Slurm: array tasks as job arrays, and all that is said to its commands."""

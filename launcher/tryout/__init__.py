"""Trying: a few samples of a run in this process, stage by stage, without a run directory."""

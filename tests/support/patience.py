"""How long tests wait for what must come."""

PATIENCE = 240.0
"""Seconds until a wait has failed: only what went wrong takes so long, so that a machine that is busy fails nothing."""

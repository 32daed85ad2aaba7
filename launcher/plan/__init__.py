"""Planning: from a config to a run directory, and what must not change after it."""

"""How a run stands, from its directory alone, and how that is shown."""

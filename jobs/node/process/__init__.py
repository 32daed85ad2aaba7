"""A device process: one per device of an array task."""

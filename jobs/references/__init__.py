"""References: cells of a manifest that say where a value lies, and what reads it there."""

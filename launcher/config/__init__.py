"""The config: config.yaml, its keys and what may be wrong with them."""

ENDINGS = (".yaml", ".yml")
"""Of the name of a config."""

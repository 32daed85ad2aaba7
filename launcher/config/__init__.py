"""The config: config.yaml, its keys and what may be wrong with them."""

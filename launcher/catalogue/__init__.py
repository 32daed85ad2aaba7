"""Which Jobs there are, their parameters, and configs for them."""

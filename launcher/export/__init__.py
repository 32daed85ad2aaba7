"""Export: a result in the formats of other programs."""

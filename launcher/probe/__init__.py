"""`launcher probe`: settings tried on some samples of a dataset, and what is recommended after that."""

"""The demo: the docstrings of Python's standard library, embedded and searched."""

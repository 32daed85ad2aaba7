"""Benchmarks: one script a figure, ours and its peers side by side in one run."""

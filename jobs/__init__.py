"""Compute node: the Job interface, the built-in jobs, and what runs inside an array task."""

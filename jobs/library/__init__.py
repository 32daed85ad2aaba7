"""What is behind jobs.Hierarchy: the caller's side of it, its supervisor, and the shared memory between them."""

inside = False
"""Whether this process belongs to a Hierarchy: its supervisor or one of its children, which are forks of that."""

"""What a process can know of its machine, and do to it."""

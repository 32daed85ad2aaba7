"""Of text_generation.py: the server that a process starts, and the client that asks it."""

"""What the commands print; each function returns whether all is done and complete."""

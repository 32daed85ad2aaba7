"""Array tasks as processes of this machine."""

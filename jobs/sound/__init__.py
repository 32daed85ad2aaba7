"""Sound files: read whole or refused."""

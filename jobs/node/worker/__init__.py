"""A pool worker: loads samples for its process."""

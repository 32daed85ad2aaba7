"""What the Download Job is made of."""

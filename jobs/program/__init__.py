"""What the Command Job is made of."""

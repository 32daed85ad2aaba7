"""What the embedding Jobs share."""

"""What the Jobs of images share."""

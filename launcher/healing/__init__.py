"""What becomes of shards that are not done when a submission has ended."""

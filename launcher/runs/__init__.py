"""A run as it lies on disk: where it is, its submissions, shards, failures and logs."""

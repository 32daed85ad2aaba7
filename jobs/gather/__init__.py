"""Shards -> result.h5, and checking both."""

"""Delivery: results in stores."""

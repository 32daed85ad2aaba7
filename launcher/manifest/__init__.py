"""The manifest: tables and sample files as one table of samples."""

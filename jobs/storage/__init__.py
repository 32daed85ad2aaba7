"""The run directory: all that the login node and the compute nodes share."""

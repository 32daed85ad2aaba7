"""From Python: a Job and samples of a script or notebook become a run, and a run is an object."""

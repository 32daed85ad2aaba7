"""Login node: plans, submits, follows, repairs and gathers runs over large datasets on Slurm."""

__version__ = "0.1.0"

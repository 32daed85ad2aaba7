"""Legal sbatch scripts that a site's user can read, edit and replace."""

"""Runs as jobs of a Slurm cluster: what the login host does, and what a job does on its hosts."""

"""What differs between machines, and nothing else."""

"""A fleet whose servers are jobs of Slurm; they tell the registry of themselves, and a gateway follows it."""

"""Files that run a fleet elsewhere: containers, Kubernetes, and jobs of Slurm."""

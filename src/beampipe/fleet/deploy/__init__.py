"""Deployment of a fleet: generated files for containers, Kubernetes and Slurm, and the process in each Slurm job."""

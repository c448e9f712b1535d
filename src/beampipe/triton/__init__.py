"""NVIDIA Triton and no physics: what a served model is, servers that run it, clients that ask it."""

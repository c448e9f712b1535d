"""Track finding as a service: the pipelines of `beampipe.tracking` behind NVIDIA Triton."""

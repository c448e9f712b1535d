"""The one address of a fleet: HAProxy, told by a generated configuration and asked through its socket."""

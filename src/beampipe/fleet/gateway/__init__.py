"""The gateway of a fleet: HAProxy with a generated configuration, changed at run time through its socket."""

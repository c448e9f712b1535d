"""Control of a running fleet: reconciler, commands, scaling, trials of new models, and the daemon that runs them."""

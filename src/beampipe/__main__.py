"""The command `beampipe`, and `python -m beampipe`."""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it at once while modules are loaded, and by `beampipe.terminal.ending` later."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from beampipe.cli import main as run

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()

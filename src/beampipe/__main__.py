"""The command `beampipe`, and `python -m beampipe`. Imports as little as it can until Ctrl-C is clean."""

import os

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C ends it at once while modules are loaded, and by `beampipe.terminal.exit` later."""
    try:
        import signal

        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        from beampipe.cli import main as run

        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()

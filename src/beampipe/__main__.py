"""The command `beampipe`, and `python -m beampipe`. Imports as little as possible before Ctrl-C is handled."""

import os


def main() -> None:
    """Run the command. Ctrl-C ends it at once while modules are imported; later `beampipe.terminal.exit` handles it."""
    try:
        import signal

        python_handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if python_handles:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        from beampipe.cli import main as run

        if python_handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()

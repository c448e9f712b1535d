"""`python -m beampipe`."""

from beampipe.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()

"""Convert events of ACTS or TrackML (CSV) to Parquet: python examples/convert.py FOLDER events.parquet."""

from __future__ import annotations

import sys

from beampipe.tracking import open_events, write_events


def main() -> None:
    """Read a file or folder, write one file."""
    source, target = sys.argv[1:]
    print(f"{target}: {write_events(target, open_events(source))} events")


if __name__ == "__main__":
    main()

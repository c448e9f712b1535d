"""Draws the pictures of README and documentation that need no measurement.

    python benchmarks/pictures.py

The event at mu = 200 on a light and on a dark ground, with the tracks of `module_map`, as PNG files of 256 colours.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from PIL import Image

from beampipe.files import write_whole
from beampipe.tracking import load_pipeline, shipped_events
from beampipe.tracking.display import fake_tracks
from beampipe.tracking.display.figure import plot_event

FOLDER: Final = Path(__file__).parents[1] / "docs" / "_static"


def main() -> None:
    event = shipped_events(200)[0]
    tracks = load_pipeline("module_map").find(event.hits)
    for name, dark in (("event", False), ("event_dark", True)):
        picture = BytesIO()
        plot_event(event, tracks, fake_tracks(event, tracks), dpi=106, dark=dark).savefig(picture, format="png")
        # Colours by frequency would drop those of the few hard tracks; these cover the whole range.
        image = Image.open(picture).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        path = FOLDER / f"{name}.png"
        write_whole(path, lambda part, image=image: image.save(part, format="png", optimize=True))
        print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""Draw the event of the README and of the site, ``docs/_static/event.png`` and ``event_dark.png``.

    python docs/draw_event.py

It is the event of ``beampipe tracking demo``, with the tracks of ``module_map``. What the legend says stands in the
files too, where a test compares it with what the finder gives now.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from beampipe.figures import metadata_of
from beampipe.tracking import load_pipeline, shipped_events
from beampipe.tracking.display import drawn_detector
from beampipe.tracking.display.figure import plot_event
from beampipe.tracking.evaluation.matching import fake_tracks

PICTURES: Final = {name: Path(__file__).parent / "_static" / f"{name}.png" for name in ("event", "event_dark")}
DPI: Final = 106


def drawn(*, dark: bool) -> Figure:
    """The picture on a light or a dark ground."""
    event = shipped_events(200)[0]
    detector = drawn_detector(None, event.hits)
    tracks = load_pipeline("module_map").find(event)
    fake = fake_tracks(event, tracks, detector.min_track_hits)
    return plot_event(event, tracks, fake, detector=detector, dpi=DPI, dark=dark)


def write(figure: Figure, path: Path) -> None:
    """Write a picture with 256 colours, a quarter of the size of one with all."""
    whole = BytesIO()
    figure.savefig(whole, format="png", dpi=DPI)
    picture = Image.open(whole).convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    texts = PngInfo()
    for name, words in metadata_of(figure, "png").items():
        texts.add_itxt(name, words)
    picture.save(path, pnginfo=texts, optimize=True)


if __name__ == "__main__":
    for name, path in PICTURES.items():
        write(drawn(dark=name == "event_dark"), path)
        print(path)

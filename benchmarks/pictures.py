"""Draws the pictures of README and documentation that need no measurement.

    python benchmarks/pictures.py [event] [fleet]

`event`: the event at mu = 200 on a light and on a dark ground, with the tracks of `module_map`, as PNG files of 256
colours. `fleet`: the page of a fleet of two servers in a browser, while a client sends events; needs the extras `fleet`
and `test`, Prometheus and the engine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from PIL import Image

from beampipe.files import write_whole
from beampipe.tracking import load_pipeline, shipped_events
from beampipe.tracking.display import fake_tracks
from beampipe.tracking.display.figure import plot_event

FOLDER: Final = Path(__file__).parents[1] / "docs" / "_static"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", choices=["event", "fleet"], default=["event"])
    for name in parser.parse_args().pictures:
        {"event": draw_event, "fleet": take_fleet}[name]()


def draw_event() -> None:
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


def take_fleet() -> None:
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)

        def beampipe(*words: str) -> str:
            command = [sys.executable, "-m", "beampipe", *words]
            return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout

        beampipe("serving", "export", "-o", "models", "-m", "module_map")
        beampipe("tracking", "example", "events.parquet")
        specification = 'name = "demo"\nrepository = "models"\nservers.cpu.count = 2\ngateway.host = "127.0.0.1"\n'
        (folder / "fleet.toml").write_text(specification + "gateway.port = 8470\n", encoding="utf-8")
        beampipe("fleet", "up", "--folder", "run")
        try:
            (folder / "run/events").mkdir(exist_ok=True)
            beampipe("tracking", "display", "events.parquet", "-o", "run/events/event.html")
            end = time.monotonic() + 30
            while time.monotonic() < end:  # the page shows the last minute
                beampipe("track", "events.parquet", "-o", "tracks.parquet", "--url", "grpc://127.0.0.1:8470")
            page = json.loads(beampipe("fleet", "status", "--folder", "run", "--json"))["page"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            shown = browser.new_page(viewport={"width": 1200, "height": 1140})
            shown.goto(page)
            shown.wait_for_timeout(8000)  # until numbers have arrived
            path = FOLDER / "fleet_watch.png"
            shown.screenshot(path=path, full_page=True)
            print(f"wrote {path}")
        finally:
            beampipe("fleet", "down", "--folder", "run")


if __name__ == "__main__":
    main()

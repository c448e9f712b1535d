"""Event displays at 100 000 hits: seconds to write, size, and time from navigation to the first picture.

Run ``python benchmarks/display.py --json display.json``; the first picture needs a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from recording import CONSOLE, conditions, print_conditions, write_result

from beampipe.tracking.display import draw_event, write_html, write_phoenix

sys.path.insert(0, str(Path(__file__).parents[1]))  # the toy stands with the tests
from tests.tracking.display.toy import toy_event

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def first_pictures(page_path: Path, repeats: int) -> list[float]:
    """Seconds to the first picture, each in a fresh browser context; empty without a Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return []
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(page_path.as_uri())
            page.wait_for_function("window.beampipeReady")
            seconds.append(page.evaluate("window.beampipeReady.firstPictureMs") / 1000)
            page.close()
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=9450, help="9450 leave about 100 000 hits")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()

    begun = conditions(("matplotlib",))
    print_conditions("event displays", begun)
    event, tracks, is_fake = toy_event(options.particles, 6000, seed=1)
    figures: dict[str, object] = {"hits": len(event.hits), "tracks": tracks.n_tracks}
    CONSOLE.print(f"{len(event.hits):,} hits, {tracks.n_tracks:,} tracks")
    with tempfile.TemporaryDirectory() as folder:
        writers: dict[str, Callable[[Path], None]] = {
            "png": lambda path: draw_event(path, event, tracks, track_is_fake=is_fake),
            "html": lambda path: write_html(path, event, tracks, track_is_fake=is_fake),
            "json": lambda path: write_phoenix(path, [event], [tracks], track_is_fake=[is_fake]),
        }
        for kind, write in writers.items():
            path = Path(folder) / f"event.{kind}"
            start = time.perf_counter()
            write(path)
            seconds = time.perf_counter() - start
            figures[kind] = {"write_s": seconds, "bytes": path.stat().st_size}
            CONSOLE.print(f"{kind:5} written in {seconds:5.2f} s, {path.stat().st_size / 1e6:5.2f} MB")
        pictures = first_pictures(Path(folder) / "event.html", options.repeats)
    figures["first_picture_s"] = pictures
    if pictures:
        CONSOLE.print(
            f"first picture: median {statistics.median(pictures):.2f} s, {min(pictures):.2f} to {max(pictures):.2f}"
        )
    else:
        CONSOLE.print("first picture: not measured, no chromium on PATH")
    if options.json:
        write_result(options.json, begun, figures)


if __name__ == "__main__":
    main()

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from beampipe.calibration.report.write import PAGE, figures_of
from beampipe.calibration.results import Results

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """Images, cells, links and anchors; tags that are not closed are refused."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        result = dict(attrs)
        self.tags.add(tag)
        self.links += [str(result[name]) for name in ("href", "src") if name in result]
        if "id" in result:
            self.anchors.add(str(result["id"]))
        if tag == "img":
            self.images.append(result)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / PAGE).read_text(encoding="utf-8"))


def test_every_image_is_inside_and_described(results: Results, page: Page) -> None:
    pictures = [picture for picture, _ in figures_of(results)]
    assert len(page.images) == len(pictures)
    assert page.images[0]["alt"] == pictures[0].alt
    for image in page.images:
        assert len(str(image["alt"])) > 20
        assert str(image["src"]).startswith("data:image/png;base64,")


def test_nothing_is_fetched_and_every_link_leads_somewhere(page: Page) -> None:
    outward = [link for link in page.links if not link.startswith("data:")]
    assert outward
    assert {link.removeprefix("#") for link in outward} <= page.anchors
    assert not page.tags & {"script", "link", "iframe"}


def test_every_scale_factor_is_in_the_table(results: Results, page: Page) -> None:
    for item in results.factors.by_name.values():
        for value in item.nominal[item.nominal == item.nominal]:
            assert f"{value:.4f}" in page.cells
    assert "not known" in page.cells
    assert "nan" not in page.cells


def test_flags_are_counted_and_told(report: Path, page: Page) -> None:
    text = (report / PAGE).read_text(encoding="utf-8")
    assert "8 of 16 numbers are flagged; 1 have no valid error" in text
    assert "no value, no statistical error" in page.cells
    assert "small determinant" in page.cells


def test_keys_and_definitions_are_told(results: Results, report: Path, page: Page) -> None:
    text = (report / PAGE).read_text(encoding="utf-8")
    assert results.provenance[0][1] in page.cells
    for word in ("Rejection", "Working point", "half the central 68 %", "beampipe calibration explain"):
        assert word in text
    assert str(report) not in text

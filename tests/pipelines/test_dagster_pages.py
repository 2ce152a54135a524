"""Dagster's pages in a real browser: a person clicks, corpus and epoch go green, pictures show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium
from services import Pages, Service, free_port, wait_until
from tiny_project import SETTINGS, environment, make_root

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
]

ONE_EPOCH = SETTINGS.replace("epochs = 2", "epochs = 1\nlog_every = 1").replace(
    "max_sequences = 32", "max_sequences = 160"
)
PROMPT = "Gallia prepares for battle"
IS_GREEN = """
(name => [...document.querySelectorAll("foreignObject div")].some(box => {
    const [red, green, blue] = getComputedStyle(box).borderColor.match(/[0-9]+/g).map(Number);
    return box.textContent.trim() === name && green > 1.5 * red && green > 1.2 * blue;
}))
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """What ``make dev`` starts, on a project of a few documents."""
    (tmp_path / "project").mkdir()
    root, port = make_root(tmp_path / "project", ONE_EPOCH), free_port()
    command = f"-m dagster dev --host 127.0.0.1 --port {port}".split()
    environ = environment(root, DAGSTER_HOME=str(root))
    server = Service([sys.executable, *command], root, environ, tmp_path / "dev.log")
    found = Pages(port)
    try:
        wait_until(found.is_up, 120, "dagster dev")
        yield found
    finally:
        server.stop()


def pictures(folder: Path) -> Path:
    """Where pictures are kept to be looked at: PERIGEE_SCREENSHOTS, if it is set."""
    return Path(os.environ.get("PERIGEE_SCREENSHOTS", folder))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    page = Chromium(tmp_path / "profile", 1700, 1200)
    yield page
    page.screenshot(pictures(tmp_path) / "last.png")
    page.close()


def row_of(entry: str) -> str:
    """JavaScript: the row of a metadata table."""
    return (
        "[...document.querySelectorAll('tr')].find(row => row.cells.length > 1"
        f" && row.cells[0].textContent.trim() === {entry!r})"
    )


class Visitor:
    """What a person does on the pages, by mouse and keyboard."""

    def __init__(self, browser: Chromium, folder: Path) -> None:
        self.browser = browser
        self._folder = folder

    def picture(self, name: str) -> None:
        """Keep what is to be seen."""
        self.browser.screenshot(self._folder / f"{name}.png")

    def click(self, text: str) -> None:
        """Click on the words."""
        self.browser.click(f"shown({text!r})")

    def expand_the_graph(self) -> None:
        """Alt+E, as the graph's menu says."""
        self.browser.wait_for("!!shown('corpus')")
        self.browser.press("e", code="KeyE", alt=True)

    def wait_for_green(self, asset: str) -> None:
        """Until the asset's box in the graph is green."""
        self.browser.wait_for(f"{IS_GREEN}({asset!r})", 90)

    def wait_for_materialization(self, asset: str, entry: str) -> None:
        """From an asset's page to its list of events, until the metadata of one are there."""
        self.browser.wait_for(f"location.pathname.endsWith('/assets/{asset}')")
        self.click("Events")
        self.browser.wait_for(f"!!({row_of(entry)})", 90)

    def text_of(self, entry: str) -> str:
        """What a metadata entry says."""
        text: str = self.browser.wait_for(f"{row_of(entry)}?.cells[1].textContent.trim()")
        return text

    def image_in(self, entry: str) -> dict[str, int | str]:
        """Open the Markdown of a metadata entry: the picture in it, once it is drawn."""
        self.browser.click(
            f"[...{row_of(entry)}?.querySelectorAll('*') ?? []]"
            ".find(e => e.textContent.trim() === '[Show Markdown]' && !e.children.length)"
        )
        image: dict[str, int | str] = self.browser.wait_for(
            "(i => i?.complete && i.naturalWidth > 0 && {kind: i.src.slice(0, 15),"
            " width: i.naturalWidth, height: i.naturalHeight})"
            "(document.querySelector('[role=dialog] img, [class*=dialog] img'))"
        )
        self.picture(entry.replace(" ", "_"))
        self.click("Close")
        return image


def test_from_the_lineage_to_the_samples_by_clicking(
    pages: Pages, browser: Chromium, tmp_path: Path
) -> None:
    visitor = Visitor(browser, pictures(tmp_path))
    browser.open(pages.url)
    visitor.click("Lineage")
    visitor.expand_the_graph()
    browser.wait_for("!!shown('checkpoint.epoch_1')")
    visitor.picture("lineage")

    visitor.click("Jobs")
    visitor.click("prepare_corpus")
    visitor.click("Materialize all")
    visitor.click("Lineage")
    for asset in ("pg19.shards", "unified.train.raw", "windows.train"):
        visitor.wait_for_green(asset)
    visitor.picture("corpus_is_green")

    visitor.click("checkpoint.epoch_1")
    visitor.click("Materialize selected")
    visitor.click("Lineage")  # closes the panel that hides half of the graph
    visitor.wait_for_green("checkpoint.epoch_1")
    visitor.picture("epoch_is_green")
    visitor.click("checkpoint.epoch_1")
    visitor.click("View in Asset Catalog")
    visitor.wait_for_materialization("checkpoint.epoch_1", "loss so far")
    curve = visitor.image_in("loss so far")
    assert curve["kind"] == "data:image/png;"
    assert float(visitor.text_of("validation bound (nats a word)")) > 0
    assert visitor.text_of("sample text").startswith(PROMPT)

    visitor.click("Overview")
    browser.click("document.querySelector('a[href$=\"/assets/samples\"]')")
    visitor.click("Materialize")
    visitor.wait_for_materialization("samples", "denoising")
    moving = visitor.image_in("denoising")
    assert moving["kind"] == "data:image/gif;"
    assert visitor.text_of("samples").startswith(PROMPT)

    elsewhere = ("http://127.0.0.1:", "data:", "blob:")
    assert [url for url in browser.requests() if not url.startswith(elsewhere)] == []
    assert browser.console_errors() == []

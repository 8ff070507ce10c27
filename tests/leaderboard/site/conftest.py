"""One leaderboard with everything, its site, and a real browser to open it with."""

import shutil
from pathlib import Path

import pytest

from nabladft.leaderboard.site.building import build_site
from tests.leaderboard.site.boards import full_board

CHROMIUM = "/usr/bin/chromium"
#: Nothing of the browser that wants the network or a graphics card.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
LOCAL = ("file:", "data:", "blob:")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def board(tmp_path_factory, source, split):
    return full_board(tmp_path_factory.mktemp("board") / "board", source=source, split=split)


@pytest.fixture(scope="session")
def site(board, tmp_path_factory):
    return build_site(board, tmp_path_factory.mktemp("site") / "site").folder


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}; apt-get install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Visit:
    """A page of the site in the browser, and all that went wrong while it was open."""

    def __init__(self, page, site):
        self.page, self.site = page, Path(site)
        self.complaints, self.requests = [], []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message):
        # Software rendering of WebGL complains of its own slowness.
        if "GL Driver Message" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, path):
        self.page.goto((self.site / path).as_uri())
        return self.page

    def scroll_through(self):
        height = self.page.evaluate("document.documentElement.scrollHeight")
        for top in range(0, height, 700):
            self.page.evaluate(f"window.scrollTo(0, {top})")
            self.page.wait_for_timeout(20)
        self.page.wait_for_load_state("load")


@pytest.fixture
def visit(browser, site):
    """Open pages; afterwards nothing may have run, complained or left the folder."""
    contexts, visits = [], []

    def start(path, *, viewport=DESKTOP, colours="light"):
        context = browser.new_context(viewport=viewport, color_scheme=colours)
        context.set_default_timeout(60_000)
        contexts.append(context)
        visits.append(Visit(context.new_page(), site))
        visits[-1].open(path)
        return visits[-1]

    yield start
    for one in visits:
        assert one.complaints == []
        assert [
            url for url in one.requests if not url.startswith(("file:", "data:", "blob:"))
        ] == []
        assert one.page.evaluate("window.ran") is None
    for context in contexts:
        context.close()

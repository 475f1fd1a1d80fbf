"""A real Chromium, and pages that remember everything that went wrong on them."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# Pages that need no id.
PAGES = (
    "/",
    "/clusterings",
    "/documents",
    "/scaling",
    "/grokking",
    "/omnigrok",
    "/parity",
    "/modular-addition",
    "/theory",
    "/glossary",
    "/api",
)
WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""
TRACES = (
    ".scatterlayer .trace path, .barlayer .point path, .heatmaplayer image, .contour .contourfill"
)


# A busy machine is slow, not wrong: what is waited for still has to come.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium from QUANTA_CHROMIUM or the path, else Playwright's own."""
    path = os.environ.get("QUANTA_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """One browser page with what it logged, asked for and opened."""

    page: Page
    base: str
    faults: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    dialogs: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Go to a path of the server."""
        response = self.page.goto(self.base + path)
        assert response is not None
        assert response.ok, f"{path}: {response.status}"
        assert "default-src 'self'" in response.headers["content-security-policy"]

    def path(self) -> str:
        """Return the path that is shown."""
        return urlsplit(self.page.url).path

    def wait_for_plots(self) -> int:
        """Scroll to every plot, wait until it is drawn with data, and return their number."""
        plots = self.page.locator(".plot")
        for i in range(plots.count()):
            plot = plots.nth(i)
            plot.scroll_into_view_if_needed()
            expect(plot).to_have_attribute("data-state", "drawn", timeout=20_000)
            name = plot.get_attribute("id")
            assert plot.locator(TRACES).count() > 0, f"{name} on {self.path()} has no data"
        return plots.count()

    def check(self) -> None:
        """Assert that nothing went wrong so far."""
        assert self.faults == []
        assert self.dialogs == []
        assert self.hosts <= {urlsplit(self.base).netloc}
        assert self.page.evaluate("window.violations") == []


def _watch(visit: Visit) -> None:
    page = visit.page

    def remember_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"}:
            visit.hosts.add(parts.netloc)

    def dismiss(dialog: Any) -> None:
        visit.dialogs.append(dialog.message)
        dialog.dismiss()

    def remember_console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            visit.faults.append(f"{page.url}: {message.text}")

    page.on("console", remember_console)
    page.on("pageerror", lambda error: visit.faults.append(f"{page.url}: {error}"))
    page.on("request", remember_request)
    page.on("dialog", dismiss)
    page.add_init_script(WATCH_POLICY)


@pytest.fixture
def visit(browser: Browser, server_url: str) -> Iterator[Visit]:
    """A fresh page on the ordinary store; fails the test if anything went wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    item = Visit(context.new_page(), server_url)
    _watch(item)
    yield item
    item.check()
    context.close()


@pytest.fixture
def hostile(browser: Browser, hostile_url: str) -> Iterator[Visit]:
    """A fresh page on a store whose documents hold markup."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    item = Visit(context.new_page(), hostile_url)
    _watch(item)
    yield item
    item.check()
    context.close()

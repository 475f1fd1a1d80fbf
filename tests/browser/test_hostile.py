"""Corpus text is text, whatever it says: on pages, in labels, hovers and tables."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser

PAYLOAD = "</span><script>alert(1)</script><img src=x onerror=alert(2)>"
INJECTED = "main script, img, main svg a, [onerror], iframe, object"


def _shown(visit: Visit) -> str:
    """Return the page's text with the signs for white space and the breaks between tokens gone."""
    text: str = visit.page.locator("main").evaluate("main => main.textContent")
    return re.sub(r"[\s␠␣⏎⇥]", "", text)


def _assert_harmless(visit: Visit) -> None:
    assert visit.page.locator(INJECTED).count() == 0
    visit.check()


def _hostile_cluster(visit: Visit) -> str:
    """Return the path of a cluster whose contexts hold the payload."""
    visit.open("/clusterings")
    links = visit.page.locator("[data-row]").evaluate_all("all => all.map((a) => a.pathname)")
    for path in links:
        visit.open(path)
        if re.sub(r"\s", "", PAYLOAD) in _shown(visit):
            return str(path)
    raise AssertionError("no cluster shows the payload as text")


def test_markup_in_documents_is_shown_as_text_everywhere(hostile: Visit) -> None:
    page = hostile.page
    cluster = _hostile_cluster(hostile)
    hostile.wait_for_plots()
    _assert_harmless(hostile)
    tables = page.locator("[data-plot='table']")
    for i in range(tables.count()):
        tables.nth(i).click()
    _assert_harmless(hostile)

    hostile.open("/clusterings")
    hostile.wait_for_plots()
    _assert_harmless(hostile)

    hostile.open(cluster)
    context = page.locator(".context", has_text="alert").first
    token, document = (
        context.locator(".context-head a").nth(i).get_attribute("href") for i in (0, 1)
    )
    assert token is not None
    assert document is not None
    for path in (token, document):
        hostile.open(path)
        hostile.wait_for_plots()
        assert "<script>alert(1)</script>" in _shown(hostile), path
        page.locator(".t").first.hover()
        expect(page.locator("#tip")).to_be_visible()
        _assert_harmless(hostile)

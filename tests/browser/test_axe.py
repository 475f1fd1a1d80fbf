"""No serious accessibility fault by axe-core 4.14 (vendored), in both themes."""

from pathlib import Path

import pytest

from tests.browser.conftest import Visit
from tests.browser.test_views import first_cluster, first_document

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = ("/", "/clusterings", "/documents", "/scaling", "/glossary", "/api")


def faults(visit: Visit) -> list[str]:
    # Evaluated by the test driver, not by the page: its policy stays as it is.
    visit.page.evaluate(AXE.read_text())
    result = visit.page.evaluate("tags => axe.run(document, {runOnly: tags})", TAGS)
    return [
        f"{visit.path()} {fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in result["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"][:3]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_have_no_serious_fault(visit: Visit, theme: str) -> None:
    cluster = first_cluster(visit)
    document = first_document(visit)
    visit.open(cluster)
    token = visit.page.locator(".context-head a").first.get_attribute("href")
    assert token is not None
    found = []
    for path in (*PAGES, cluster, cluster + "?colour=loss", document, token):
        visit.open(path + ("&" if "?" in path else "?") + f"theme={theme}")
        visit.wait_for_plots()
        found += faults(visit)
    assert found == []

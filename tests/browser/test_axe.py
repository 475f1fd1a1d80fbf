"""No serious accessibility fault by axe-core 4.14 (vendored), in both themes."""

from pathlib import Path

import pytest

from tests.browser.conftest import PAGES, Visit
from tests.browser.test_views import first_cluster, first_document

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def faults(visit: Visit) -> list[str]:
    # Evaluated by the test driver, not by the page: its policy stays as it is.
    visit.page.evaluate(AXE.read_text())
    # Scrolled, the sticky header covers links in part, and axe measures the rest of them.
    visit.page.evaluate("window.scrollTo(0, 0)")
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
    matches = []
    for path in (*PAGES, cluster, cluster + "?colour=loss", document, token):
        visit.open(path + ("&" if "?" in path else "?") + f"theme={theme}")
        visit.wait_for_plots()
        matches += faults(visit)
    assert matches == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "question",
    ["axis=S", "regex=foo(&cls=learned", "cls=learned&final_min=5", "axis=Q", "preset=u&inv=none"],
)
def test_searches_have_no_serious_fault(visit: Visit, question: str, theme: str) -> None:
    """Along steps, refused at a field, without a match, refused as a whole."""
    # So high that the bar at the lower edge lies over nothing that could be scrolled from under it.
    visit.page.set_viewport_size({"width": 1280, "height": 2_400})
    visit.page.goto(f"{visit.base}/predictions?{question}&theme={theme}")
    assert faults(visit) == []
    visit.faults[:] = [fault for fault in visit.faults if "422" not in fault]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_heats_have_no_serious_fault(visit: Visit, theme: str) -> None:
    document = first_document(visit)
    matches = []
    for params in ("measure=p_token", "measure=difference", "measure=p&log=1&lo=0.001"):
        visit.open(f"{document}?{params}&theme={theme}")
        matches += faults(visit)
    assert matches == []

"""A login link, a session's work and its end, in a real browser under the strict policy."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from backend.store.database import Store
from tests.browser.conftest import Visit, _watch
from tests.browser.test_axe import faults
from tests.browser.test_views import first_cluster
from tests.processes import Server, running_server
from tests.stores import copy_store

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def guarded(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own token."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("guarded") / "data")
    with running_server(folder, options=("--token", "auto", "--no-worker")) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, guarded: Server) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    item = Visit(context.new_page(), guarded.url)
    _watch(item)
    yield item
    item.faults[:] = [fault for fault in item.faults if "401" not in fault]  # asked for below
    item.check()
    context.close()


def test_a_link_logs_in_once_and_its_session_saves_until_it_ends(
    visit: Visit, guarded: Server
) -> None:
    page = visit.page
    link = re.search(r"http://\S+/login#(ql_\S+)", guarded.log.read_text())
    assert link is not None
    cluster = first_cluster(visit)

    visit.open(cluster)
    page.get_by_label("Label").fill("mine")
    page.get_by_role("button", name="Save").click()
    status = page.locator("[data-annotation] [role=status]")
    expect(status).to_contain_text("needs a token")
    expect(status.get_by_role("link", name="Log in")).to_have_attribute(
        "href", f"/login?next={cluster.replace('/', '%2F')}"
    )

    page.goto(link[0])
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert page.url == f"{guarded.url}/"
    visit.open(cluster)
    page.get_by_label("Label").fill("mine")
    page.get_by_role("button", name="Save").click()
    expect(status).to_have_text("Saved")

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()
    page.goto("about:blank")
    page.goto(link[0])
    expect(page.get_by_role("alert")).to_contain_text("used")
    assert guarded.log.read_text().count(link[1]) == 1, "where it was printed, and no log"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_login_page_has_no_serious_fault(visit: Visit, theme: str) -> None:
    visit.open(f"/login?theme={theme}&next=/documents")
    expect(visit.page.get_by_label("Token")).to_be_focused()
    assert faults(visit) == []

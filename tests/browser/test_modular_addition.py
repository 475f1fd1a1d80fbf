"""The slider over steps and the choices of the circuit, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.main import create_app
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.experiments import run_experiment
from backend.store.database import open_store
from tests.app.serving import served
from tests.app.test_modular_addition_page import TINY
from tests.browser.conftest import Visit, _watch
from tests.browser.test_axe import faults
from tests.stores import ONE_CORE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def clock_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = open_store(Settings(data_dir=tmp_path_factory.mktemp("clock") / "data"))
    with store.session() as session:
        params = validate_params(store, session, "modular_addition", TINY)
    run_experiment(store, "modular_addition", params, ONE_CORE, Silent())
    with served(create_app(store)) as url:
        yield url
    store.close()


@pytest.fixture
def clock(browser: Browser, clock_url: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visit = Visit(context.new_page(), clock_url)
    _watch(visit)
    visit.open("/modular-addition")
    assert visit.wait_for_plots() == 10
    yield visit
    visit.check()
    context.close()


def dots(page: Page) -> str:
    """Where the numbers are drawn."""
    points = page.locator("#circle .scatterlayer .point")
    return str(points.evaluate_all("all => all.map((p) => p.getAttribute('transform')).join()"))


def test_the_slider_moves_plots_words_and_address(clock: Visit) -> None:
    page = clock.page
    before, caption = dots(page), page.locator("[data-part=circle-caption]").inner_text()
    slider = page.locator("[data-slide]")
    slider.focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    step = page.locator("select[name=step]").input_value()
    expect(page).to_have_url(re.compile(rf"step={step}$"))
    assert slider.get_attribute("aria-valuetext") == f"step {step}"
    expect(page.locator("[data-part=circuit-step]")).to_have_text(step)
    expect(page.locator("[data-part=circle-caption]")).not_to_have_text(caption)
    assert dots(page) != before
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"/modular-addition$"))  # the last step is the default
    expect(page.locator("[data-part=circle-caption]")).to_have_text(caption)
    assert dots(page) == before


def test_a_head_is_chosen_without_reload(clock: Visit) -> None:
    page = clock.page
    page.evaluate("window.isSame = true")
    maps = page.locator("#attention .heatmaplayer image")
    expect(maps).to_have_count(4)
    page.locator("[data-choice]", has_text=re.compile("^1$")).first.click()
    expect(page).to_have_url(re.compile("head=1"))
    expect(maps).to_have_count(2)
    assert page.locator("#attention figcaption").inner_text().startswith("Share of")
    page.locator("select[name=step]").select_option(index=3)
    expect(page).to_have_url(re.compile("head=1&step="))
    page.go_back()
    expect(maps).to_have_count(4)
    assert page.evaluate("window.isSame")


def test_plot_tables_name_numbers_and_steps(clock: Visit) -> None:
    page = clock.page
    page.locator("#attention [data-plot=table]").click()
    cells = page.locator("#attention .plot-table tbody tr").first.locator("th, td")
    assert cells.all_inner_texts()[:3] == ["0 → a", "0", "0"]
    page.locator("#spectrum-training [data-plot=table]").click()
    steps = page.locator("#spectrum-training .plot-table tbody tr").nth(2).locator("td").first
    assert steps.inner_text() == "3"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_network_has_no_accessibility_faults(clock: Visit, theme: str) -> None:
    clock.open(f"/modular-addition?theme={theme}&head=1")
    clock.wait_for_plots()
    assert faults(clock) == []

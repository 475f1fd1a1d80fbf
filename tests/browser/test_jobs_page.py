"""Pages of jobs in a browser: submit, follow, cancel, resume, compare."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.store.database import Store
from tests.browser.conftest import Visit, _watch
from tests.browser.test_axe import faults
from tests.browser.test_hostile import INJECTED
from tests.processes import running_server
from tests.stores import copy_store

pytestmark = [pytest.mark.browser, pytest.mark.slow]

JOB_MS = 240_000
CORPUS = "mini-held-out-60"
HOSTILE = "<img src=x onerror=alert(1)>.jsonl"
DISCOVERY = {"suite": "mini", "corpus": CORPUS, "n_clusters": [3], "stride": 9}
MARK = r"[✓✕◐○◌–]\s*"


@pytest.fixture(scope="module")
def worker_url(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a worker over a copy that no other test changes."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("jobs") / "data")
    (folder / "imports").mkdir()
    line = '{"id": "1", "source": "s", "license": "l", "text": "some words to keep"}\n'
    (folder / "imports" / HOSTILE).write_text(line)
    with running_server(folder) as running:
        yield running.url


@pytest.fixture(scope="module")
def waiting_url(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without a worker: jobs stay queued until a test changes them."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("waiting") / "data")
    with running_server(folder, options=("--no-worker",)) as running:
        yield running.url


def open_visit(browser: Browser, url: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visit = Visit(context.new_page(), url)
    _watch(visit)
    yield visit
    visit.check()
    context.close()


@pytest.fixture
def jobs(browser: Browser, worker_url: str) -> Iterator[Visit]:
    """A fresh page on the server with a worker."""
    yield from open_visit(browser, worker_url)


@pytest.fixture
def waiting(browser: Browser, waiting_url: str) -> Iterator[Visit]:
    """A fresh page on the server without a worker."""
    yield from open_visit(browser, waiting_url)


def post(base: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        base + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Sec-Fetch-Site": "none"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        document: dict[str, Any] = json.load(reply)
    return document


def submit(visit: Visit, kind: str, **parameters: Any) -> str:
    return str(post(visit.base, "/api/v1/jobs", {"kind": kind, "parameters": parameters})["id"])


def open_form(page: Page, kind: str) -> None:
    expect(page.locator("[data-new-job]")).to_have_attribute("data-state", "ready")
    page.locator(".kinds a", has_text=kind).click()
    expect(page.locator("[data-new-job]")).to_have_attribute("data-state", "ready")


def test_a_job_is_estimated_submitted_followed_and_cloned(jobs: Visit) -> None:
    page = jobs.page
    jobs.open("/jobs")
    expect(page.locator("[data-new-job]")).to_have_attribute("data-state", "ready")
    page.keyboard.press("n")
    expect(page.locator("#p-suite")).to_be_focused()
    open_form(page, "New corpus")
    page.fill("#p-name", "words")
    page.fill("#p-files", HOSTILE)
    page.fill("#p-tokenizer", "mini")
    expect(page.locator("[data-estimate]")).to_contain_text("no job of this kind has finished")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(re.compile(r"/jobs/j[0-9a-f]+$"))
    # The page follows the job from open to finished without a reload.
    expect(page.get_by_role("heading", name="Finished")).to_be_visible(timeout=JOB_MS)
    expect(page.locator("[data-log]")).to_contain_text("started by")
    expect(page.locator("[data-log]")).to_contain_text("finished")
    expect(page.locator("[data-part=units] tbody tr")).to_have_count(1)
    expect(page.locator("#state-title")).to_contain_text("✓")
    assert page.locator("main img").count() == 0
    job = jobs.path()
    page.get_by_role("link", name="Clone").click()
    expect(page.locator("#p-files")).to_have_value(HOSTILE)
    expect(page.locator("[data-new-job]")).to_have_attribute("data-state", "ready")
    page.locator("#p-limit").fill("9")
    page.locator("#p-limit").fill("")
    expect(page.locator("[data-estimate]")).to_contain_text("at the rate of the last finished job")
    expect(page.locator("[data-estimate] a")).to_have_attribute("href", job)
    expect(page.locator("[data-estimate]")).to_contain_text("Equal config → cached result")
    page.goto(jobs.base + job)
    page.get_by_role("link", name="Show the result").click()
    page.wait_for_url(re.compile(r"/documents"))
    assert page.locator(INJECTED).count() == 0


def test_an_export_is_downloaded_from_the_page_of_its_job(jobs: Visit) -> None:
    page = jobs.page
    jobs.open("/jobs?new=export")
    expect(page.locator("[data-new-job]")).to_have_attribute("data-state", "ready")
    page.select_option("#p-what", "losses")
    page.select_option("#p-format", "csv")
    page.select_option("#p-suite", "mini")
    page.select_option("#p-corpus", CORPUS)
    page.fill("#p-limit", "20")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(re.compile(r"/jobs/j[0-9a-f]+$"))
    link = page.get_by_role("link", name="Download the file")
    expect(link).to_be_visible(timeout=JOB_MS)
    with page.expect_download() as coming:
        link.click()
    assert len(Path(coming.value.path()).read_text().splitlines()) == 21


def test_the_list_follows_its_jobs(jobs: Visit) -> None:
    job = submit(jobs, "discover", **DISCOVERY)
    page = jobs.page
    jobs.open("/jobs")
    row = page.locator(f"[data-job-row={job}]")
    row.locator("input").check()
    expect(row.locator(".state")).to_have_text(re.compile(MARK + "finished"), timeout=JOB_MS)
    expect(row.locator("input")).to_be_checked()  # ticks survive the updates
    expect(page.locator("[data-part=workers]")).to_contain_text("cpu")


def test_cancelling_asks_for_confirmation_and_resuming_queues_the_job_again(waiting: Visit) -> None:
    page = waiting.page
    job = submit(waiting, "discover", **DISCOVERY)
    waiting.open(f"/jobs/{job}")
    expect(page.locator("[data-job]")).to_contain_text("Waiting for a worker. No worker is running")
    page.locator("summary", has_text="Cancel").click()
    expect(page.get_by_text("Committed units stay")).to_be_visible()
    assert page.locator("[data-job]").get_attribute("data-state") == "queued"
    page.get_by_role("button", name="Yes, cancel this job").click()
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("summary", has_text="Cancel")).to_be_visible()
    expect(page.locator("[data-log]")).to_contain_text("attempt 2")
    # The page and its log follow a change from elsewhere.
    post(waiting.base, f"/api/v1/jobs/{job}/cancel", {})
    expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    expect(page.locator("[data-log] p")).to_have_count(3)
    expect(page.locator("#said")).to_have_text("cancelled")


def test_two_ticked_rows_are_compared_by_keyboard(waiting: Visit) -> None:
    page = waiting.page
    pair = [submit(waiting, "discover", **DISCOVERY | {"stride": n}) for n in (13, 14)]
    waiting.open("/jobs?kind=discover")
    button = page.get_by_role("button", name="Compare the two selected jobs")
    expect(button).to_be_disabled()
    page.keyboard.press("j")
    newest = page.locator("[data-row]").first
    expect(newest).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("[data-row]").nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(newest).to_be_focused()
    for job in pair:
        page.locator(f"[data-job-row={job}] input").check()
    button.click()
    page.wait_for_url(re.compile(r"kind=discover.*cmp=j\w+%2Cj\w+$"))
    expect(page.locator(".differs").first).to_contain_text("Stride")
    equal = page.locator(".compared details")
    expect(equal.locator("table")).to_be_hidden()
    equal.locator("summary").click()
    expect(equal).to_contain_text("Numbers of clusters")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("new job (jobs)")


def test_the_pages_work_without_scripts(browser: Browser, waiting_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{waiting_url}/jobs?new=discover")
    page.fill("#p-n_clusters", "5")
    page.fill("#p-stride", "17")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator("[data-estimate]")).to_contain_text("FLOP")
    page.fill("#p-model", "s99")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#p-model-error")).to_contain_text("no model 's99'")
    expect(page.locator("#p-stride")).to_have_value("17")
    page.fill("#p-model", "")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("link", name="Refresh")).to_be_visible()
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Yes, cancel this job").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_of_jobs_have_no_serious_fault_and_reflow(waiting: Visit, theme: str) -> None:
    page = waiting.page
    pair = [submit(waiting, "discover", **DISCOVERY | {"stride": n}) for n in (23, 24)]
    post(waiting.base, f"/api/v1/jobs/{pair[0]}/cancel", {})
    problems = []
    paths = (f"/jobs?new=discover&cmp={','.join(pair)}", *(f"/jobs/{job}" for job in pair))
    for path in paths:
        page.set_viewport_size({"width": 1280, "height": 2400})
        waiting.open(path + ("&" if "?" in path else "?") + f"theme={theme}")
        problems += faults(waiting)
        page.set_viewport_size({"width": 320, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
    assert problems == []

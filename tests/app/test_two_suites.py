"""Where a corpus has several suites, pages keep the one that is shown, and name it."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from backend.corpora.corpora import list_corpora
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.classify import classify
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import CurveSet
from tests.app.conftest import local_client
from tests.stores import copy_store

# Two steps beside step 0: enough to be drawn by nobody.
COLUMNS = [(1_000, 9), (10_000, 9), (100_000, 9), (100_000, 4), (100_000, 0)]


def _second_suite(store: Store, folder: Path, corpus: str, n_predictions: int) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.gamma(0.7, 3, (n_predictions, len(COLUMNS))).clip(0, 20))
    entries = [{"name": f"m{n}", "nonembedding_parameters": n, "step": s} for n, s in COLUMNS]
    (folder / "m.json").write_text(json.dumps(entries))
    spec = LossesSpec(folder / "x.npy", folder / "m.json", "nats", "second", corpus)
    import_losses(store, spec, Silent())
    with store.session() as session:
        home, suite = corpus_named(session, corpus), suite_named(session, "second")
    classify(store, home, suite, Silent())


@pytest.fixture(scope="module")
def both(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The miniature store with a second suite on its corpus."""
    folder = tmp_path_factory.mktemp("both")
    store = open_store(Settings(data_dir=copy_store(mini_store, folder / "data")))
    (row,) = list_corpora(store)
    _second_suite(store, folder, row.id, row.n_predictions)
    yield store
    store.engine.dispose()


@pytest.fixture(scope="module")
def client(both: Store) -> Iterator[TestClient]:
    with local_client(create_app(both)) as client:
        yield client


@pytest.fixture(scope="module")
def corpus(both: Store) -> str:
    return list_corpora(both)[0].id


def _hrefs(page: str, pattern: str) -> list[str]:
    return [html.unescape(href) for href in re.findall(pattern, page)]


def test_the_search_hands_its_suite_on(client: TestClient, corpus: str) -> None:
    page = client.get("/predictions?suite=second").text
    links = _hrefs(page, r'href="(/(?:predictions|documents)/[^"]*)"')
    assert len(links) > 10
    assert all(parse_qs(urlsplit(href).query)["suite"] == ["second"] for href in links)
    (named,) = _hrefs(page, r'data-prediction="([^"]*)"')
    tip = client.get(named.replace("INDEX", "5")).json()
    assert {curve["suite"] for curve in tip["curves"]} == {"second"}
    (opened,) = _hrefs(page, r'data-page="([^"]*)"')
    assert opened.endswith("?suite=second")
    (choice,) = re.findall(r'<select name="suite">(.*?)</select>', page)
    assert re.findall(r"<option( selected)?>(\w+)<", choice) == [
        ("", "mini"),
        (" selected", "second"),
    ]
    # The map asks for curves of the suite that is searched, named in the address or not.
    (named,) = _hrefs(client.get("/predictions").text, r'data-prediction="([^"]*)"')
    assert "suite=" in named


def test_a_token_keeps_suite_and_context_and_says_whose_values_it_shows(
    client: TestClient, corpus: str
) -> None:
    page = client.get(f"/predictions/{corpus}/300?suite=second&ctx=40").text
    assert "loss under m100000 of second at step 9" in page
    for rel in ("prev", "next"):
        links = _hrefs(page, rf'rel="{rel}" href="([^"]*)"')
        assert links, rel
        for href in links:
            assert parse_qs(urlsplit(href).query) == {"suite": ["second"], "ctx": ["40"]}
    (place,) = _hrefs(page, r'href="(/documents/[^"]*#[^"]*)"')
    assert parse_qs(urlsplit(place).query) == {"suite": ["second"]}


def test_tokens_of_a_heat_lead_to_the_suite_that_colours_them(
    client: TestClient, corpus: str
) -> None:
    page = client.get(f"/documents/{corpus}/1?suite=second").text
    links = _hrefs(page, r'href="(/predictions/[^"]*/\d+[^"]*)"')
    assert links
    assert all(href.endswith("?suite=second") for href in links)


def test_search_and_token_take_the_same_suite_by_default(
    client: TestClient, both: Store, corpus: str
) -> None:
    def defaults() -> tuple[str, str]:
        searched = client.get("/api/v1/predictions?limit=1").json()["suite"]
        response = client.get(f"/api/v1/corpora/{corpus}/predictions/3").json()["suite"]
        return searched, response

    before = defaults()
    assert before[0] == before[1] != "second"
    with both.session() as session:  # evaluated, but without curves any more
        rows = [row for row in session.query(CurveSet) if row.suite.name == before[0]]
        held = {row.id: row.completed_at for row in rows}
        for row in rows:
            row.completed_at = None
        session.commit()
    assert defaults() == ("second", "second")
    with both.session() as session:
        for number, moment in held.items():
            session.get_one(CurveSet, number).completed_at = moment
        session.commit()


@pytest.mark.parametrize("params", ["", "?axis=S&unit=bits&fit=bnsl", "?suite=second&unit=bits"])
def test_no_link_of_the_scaling_page_leads_to_curves_that_are_not_there(
    client: TestClient, params: str
) -> None:
    page = client.get(f"/scaling{params}").text
    (switches,) = re.findall(r'<nav class="switch".*?</nav>', page, re.DOTALL)
    links = _hrefs(switches, r'href="([^"]*)"')
    assert len(links) >= 6  # two suites, two units, three fits
    for href in links:
        assert client.get(href).status_code == 200, href
    if "unit=bits" in params:  # the unit is kept, but by the link that changes it
        assert sum("unit=bits" not in href for href in links) == 1
    if "second" in params:
        assert "training step S" not in switches
        form = client.get("/predictions?suite=second").text
        assert "Model of the steps" not in form

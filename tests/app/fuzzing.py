"""Requests made from the OpenAPI document, and whether the answers are what it says."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jsonschema_rs
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, CheckFunction, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

CASES_AT_ONCE = 8
# Refusals too, of what is too long to be looked at; the fuzzer does not count them.
TOO_LARGE = frozenset({413, 414, 431})
PROGRAM = {"Sec-Fetch-Site": "none"}
# The last is left out where the request was refused for its length.
NAMES_OF_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
)


@dataclass
class Findings:
    """How many cases were sent, what came back, and what should not have."""

    seed: int
    n_cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def __str__(self) -> str:
        statuses = ", ".join(f"{n} x {status}" for status, n in sorted(self.statuses.items()))
        kinds = ", ".join(f"{n} {mode}" for mode, n in sorted(self.modes.items()))
        return (
            f"{self.n_cases} cases ({kinds}) of {len(self.operations)} operations from seed "
            f"{self.seed}: {statuses}"
        )


def _checks() -> list[CheckFunction]:
    load_all_checks()
    return [CHECKS.get_one(name) for name in NAMES_OF_CHECKS]


class _Schemas:
    """Schemas of responses; the fuzzer's own check cannot read tuples of fixed length."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def check(self, operation: Any, answer: Any) -> None:
        """Raise an AssertionError unless a JSON answer is as documented for its status."""
        media = (answer.headers.get("content-type") or [""])[0].partition(";")[0]
        responses = self._document["paths"][operation.path][operation.method]["responses"]
        schema = responses.get(str(answer.status_code), {}).get("content", {}).get(media, {})
        if "json" not in media or "schema" not in schema:
            return
        key = json.dumps(schema["schema"], sort_keys=True)
        if key not in self._validators:
            whole = {**schema["schema"], "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        faults = list(self._validators[key].iter_errors(answer.json()))[:3]
        assert not faults, f"{answer.status_code} is not as documented: {faults}"


def _known(value: Any, names: dict[str, Any], chosen: random.Random) -> Any:
    """A body in which some names are those of things that exist."""
    if not isinstance(value, dict):
        return value
    return {
        key: names[key] if key in names and chosen.random() < 0.7 else _known(item, names, chosen)
        for key, item in value.items()
    }


def _required(operation: Any, place: str, names: dict[str, Any]) -> dict[str, Any]:
    """Known values of an operation's parameters at a place, those in the query if needed."""
    parameters = operation.definition.raw.get("parameters", ())
    return {
        p["name"]: names[p["name"]]
        for p in parameters
        if p["in"] == place and p["name"] in names and p.get("required")
    }


def _strategies(
    operation: Any, names: dict[str, Any]
) -> Iterator[tuple[GenerationMode, st.SearchStrategy[Any]]]:
    """Cases that are valid and cases that are not, with unknown and with known names."""
    place = {"path_parameters": _required(operation, "path", names)}
    place |= {"query": _required(operation, "query", names)}
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        yield mode, operation.as_strategy(generation_mode=mode)
    if any(place.values()):
        yield GenerationMode.POSITIVE, operation.as_strategy(**place)


def fuzzed(
    document: dict[str, Any],
    url: str,
    names: dict[str, Any],
    n_cases: int,
    first_seed: int,
) -> Findings:
    """Send at least `n_cases` requests of all operations and check every answer.

    Args:
        document: the OpenAPI document.
        url: of the server.
        names: values of parameters that find something.
        n_cases: how many, over all operations.
        first_seed: what everything is drawn from.
    """
    schema = schemathesis.openapi.from_dict(document)
    results, checks, schemas = Findings(first_seed), _checks(), _Schemas(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    with requests.Session() as session:

        def send(operation: Any, mode: GenerationMode, case: Any, draw: random.Random) -> None:
            if mode is GenerationMode.POSITIVE:
                case.body = _known(case.body, names, draw)
            answer = case.call(base_url=url, session=session, headers=PROGRAM, timeout=120)
            results.n_cases += 1
            results.statuses[answer.status_code] += 1
            results.modes[mode.value] += 1
            results.operations.add(operation.label)
            try:
                params = checks[:-1] if answer.status_code in TOO_LARGE else checks
                case.validate_response(answer, checks=params, headers=PROGRAM)
                schemas.check(operation, answer)
            except (FailureGroup, AssertionError) as failure:
                words = [str(f) for f in getattr(failure, "exceptions", [failure])]
                for text in words:
                    key = (operation.label, text.splitlines()[0])
                    told = f"{answer.status_code}: {text}\n{case.as_curl_command()}"
                    results.failures.setdefault(key, told[:2_000])

        for round_ in count():
            for operation in operations:
                for mode, strategy in _strategies(operation, names):
                    _run(strategy, first_seed + round_, operation, mode, send)
                if results.n_cases >= n_cases and round_ > 0:
                    return results
    raise AssertionError("unreachable")


def _run(
    strategy: st.SearchStrategy[Any],
    number: int,
    operation: Any,
    mode: GenerationMode,
    send: Callable[[Any, GenerationMode, Any, random.Random], None],
) -> None:
    draw = random.Random(f"{number} {operation.label} {mode}")

    @seed(number)
    @settings(
        max_examples=CASES_AT_ONCE,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def each(case: Any) -> None:
        send(operation, mode, case, draw)

    with suppress(Unsatisfiable):  # an operation without parameters takes no wrong ones
        each()

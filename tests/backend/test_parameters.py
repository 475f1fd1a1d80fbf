"""Parameters of jobs and stages: one declaration for keys, requests, forms and commands."""

import inspect
from typing import Any

import pytest
from typer.testing import CliRunner

from app.pages.job_form import form_fields
from backend.cli import cli
from backend.commands import compute
from backend.errors import InvalidInputError
from backend.jobs.kinds.discover import DISCOVER
from backend.schemas.discover import DiscoverParameters
from backend.stages.select import SELECTION_PARAMETERS
from backend.store.keys import result_key

REQUEST = {
    "suite": "mini",
    "corpus": "demo",
    "model": "s3",
    "step": 2000,
    "max_loss_nats": 0.5,
    "stride": 3,
    "limit": 1000,
    "n_clusters": [10, 20],
}


def test_keys_of_selections_and_jobs_are_those_of_the_former_names() -> None:
    # Made by the first release that had them, where max_loss_nats was threshold_nats.
    selection = "c66dfe2b201d1825b0eea0877913bc109ad38239e56bd729e14461dfd8ed898d"
    job = "3ebc2e710671507cbbb5287ea713dc628ccce1d8d6150023fbfce1b551b8c757"
    params = DiscoverParameters.parse(REQUEST)
    values = params.model_dump(include=SELECTION_PARAMETERS)
    assert result_key("selection", evaluation="0" * 64, **values) == selection
    params = DiscoverParameters.parse(REQUEST | {"limit": 10_000})
    assert DISCOVER.key(params.model_dump()) == job


def test_a_former_name_is_accepted_beside_no_other() -> None:
    request: dict[str, Any] = {**REQUEST, "threshold_nats": 0.7}
    with pytest.raises(InvalidInputError, match="threshold_nats is not a parameter"):
        DiscoverParameters.parse(request)
    del request["max_loss_nats"]
    assert DiscoverParameters.parse(request).max_loss_nats == 0.7


def test_a_fault_names_parameter_value_and_bounds() -> None:
    for changes, problem, remedy in (
        ({"limit": 5}, "limit is 5", "greater than or equal to 10"),
        (
            {"max_loss_nats": "x" * 99},
            "max_loss_nats is '" + "x" * 27 + "..." + "x" * 28 + "'",
            "valid number",
        ),
        ({"n_clusters": [5, 1]}, "n_clusters[1] is 1", "greater than or equal to 2"),
        ({"suite": None}, "suite is missing", "Send suite"),
        ({"threshold": 1}, "threshold is not a parameter", "Leave it out"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            DiscoverParameters.parse(REQUEST | changes)
        assert refused.value.problem == problem
        assert remedy in refused.value.remedy


def test_a_command_and_a_form_have_every_parameter_with_its_default_and_bounds() -> None:
    options = inspect.signature(compute.discover).parameters
    fields = {field.name: field for field in form_fields(DISCOVER, {}, {}, {})}
    for name, field in DiscoverParameters.model_fields.items():
        assert fields[name].is_required == field.is_required()
        if not field.is_required() and field.default is not None:
            assert options[name].default == field.default
            assert (fields[name].value or fields[name].placeholder).lower() == str(
                field.default
            ).lower()
    assert "(nats)" in fields["max_loss_nats"].title
    printed = CliRunner().invoke(cli, ["discover", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--max-loss-nats" in printed
    assert "Maximum loss in nats: keep predictions with a loss below it" in printed
    assert "--threshold" not in printed

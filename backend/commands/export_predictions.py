"""`quanta export predictions`: what a token search finds, whole."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.commands.common import Json
from backend.commands.export import (
    Axis,
    Context,
    Force,
    Format,
    Limit,
    Model,
    Out,
    export_cli,
    write_export,
)

if TYPE_CHECKING:
    from backend.search.request import SearchRequest, Shape

__all__ = ["export_cli"]

# The command line may take its time; the server may not.
TEXT_SECONDS = 3600.0
_RANGES = ("drop", "sharpness", "emergence", "final")

Name = Annotated[str | None, typer.Option(help="The first with curves if left out.")]
Text = Annotated[str | None, typer.Option(help="Characters that end in the answer token.")]
Regex = Annotated[str | None, typer.Option(help="RE2; its match ends in the answer token.")]
TokenText = Annotated[str | None, typer.Option(help="The answer, exactly, or its id as #123.")]
TokenPattern = Annotated[str | None, typer.Option(help="RE2, on the answer token alone.")]
Source = Annotated[str | None, typer.Option(help="Of the document; * at its end: any ending.")]
Index = Annotated[int | None, typer.Option(min=0, help="An index or id.")]
Classes = Annotated[list[str] | None, typer.Option("--cls", help="Class; may be repeated.")]
Bound = Annotated[float | None, typer.Option(help="Nats; emergence: units of the axis.")]
Published = Annotated[str | None, typer.Option(help="monogenic or polygenic.")]
Largest = Annotated[int | None, typer.Option(min=1, help="Right under only so many models.")]
Right = Annotated[float | None, typer.Option(help="Right is a loss below; ln 2 if left out.")]
Sketch = Annotated[str | None, typer.Option(help="Nearest to a curve: x:nats,x:nats,…")]
Preset = Annotated[str | None, typer.Option(help="Nearest to step, smooth, u, hump, late, …")]
Step = Annotated[int | None, typer.Option(min=1, help="For step: the first low point.")]
Inv = Annotated[list[str] | None, typer.Option(help="Ignore level, scale or shift.")]
Sort = Annotated[str | None, typer.Option(help="distance, index, drop, sharpness, …")]
Order = Annotated[str, typer.Option(help="asc or desc.")]


@export_cli.command("predictions")
def export_predictions(
    out: Out,
    corpus: Name = None,
    suite: Name = None,
    axis: Axis = "N",
    model: Model = None,
    text: Text = None,
    regex: Regex = None,
    token: TokenText = None,
    token_pattern: TokenPattern = None,
    source: Source = None,
    document: Index = None,
    classes: Classes = None,
    drop_min: Bound = None,
    drop_max: Bound = None,
    sharpness_min: Bound = None,
    sharpness_max: Bound = None,
    emergence_min: Bound = None,
    emergence_max: Bound = None,
    final_min: Bound = None,
    final_max: Bound = None,
    published: Published = None,
    only_largest: Largest = None,
    right: Right = None,
    cluster: Index = None,
    sketch: Sketch = None,
    preset: Preset = None,
    at: Step = None,
    like: Index = None,
    inv: Inv = None,
    sort: Sort = None,
    order: Order = "asc",
    limit: Limit = None,
    context: Context = 32,
    format: Format = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """What a token search finds, with contexts, curves, classes and scores."""
    _export(dict(locals()))


def _export(given: dict[str, Any]) -> None:
    from backend.exchange.exports import predictions_table
    from backend.search.search import rank_predictions

    wanted, limit = _search(given), given["limit"]
    write_export(
        lambda store: predictions_table(
            store, rank_predictions(store, wanted, limit, TEXT_SECONDS), context=given["context"]
        ),
        *(given[name] for name in ("out", "format", "force", "as_json")),
    )


def _choice(value: str | None, choices: tuple[str, ...], name: str) -> Any:
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(choices)}", param_hint=name)
    return value


def _shape(given: dict[str, Any]) -> "Shape | None":
    from typing import get_args

    from backend.search.request import Shape
    from backend.search.views import Preset

    names = [name for name in ("sketch", "preset", "like") if given[name] is not None]
    if not names:
        return None
    if len(names) > 1:
        raise typer.BadParameter("choose one curve to search for", param_hint=f"--{names[1]}")
    preset = _choice(given["preset"], get_args(Preset), "--preset")
    sketch = _knots(given["sketch"]) if given["sketch"] else None
    return Shape(sketch, preset, given["at"], given["like"])


def _knots(text: str) -> tuple[tuple[float, float], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((float(x), float(y)) for x, y in pairs)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}; write knots such as 1e6:2.5,1e7:0.1", param_hint="--sketch"
        ) from error


def _search(given: dict[str, Any]) -> "SearchRequest":
    from typing import get_args

    from backend.search.request import RIGHT_NATS, SearchFilters, SearchRequest
    from backend.search.text_filters import TextFilter
    from backend.search.views import Invariance, Sort

    ranges: dict[str, Any] = {n: (given[f"{n}_min"], given[f"{n}_max"]) for n in _RANGES}
    others: dict[str, Any] = {n: given[n] for n in ("published", "only_largest", "cluster")}
    of_text = ("text", "regex", "token", "token_pattern", "source", "document")
    invariances = [_choice(name, get_args(Invariance), "--inv") for name in given["inv"] or ()]
    return SearchRequest(
        **{name: given[name] for name in ("corpus", "suite", "model")},
        axis=_choice(given["axis"], ("N", "S"), "--axis"),
        shape=_shape(given),
        invariances=tuple(invariances) if given["inv"] else None,
        filters=SearchFilters(
            text=TextFilter(**{name: given[name] for name in of_text}),
            classes=tuple(given["classes"] or ()),
            **ranges,
            **others,
            right_nats=RIGHT_NATS if given["right"] is None else given["right"],
        ),
        sort=_choice(given["sort"], get_args(Sort), "--sort"),
        order=_choice(given["order"], ("asc", "desc"), "--order"),
    )

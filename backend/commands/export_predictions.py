"""`quanta export predictions`: all matches of a token search."""

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

# Much longer than the server's limit: a command may run for long.
TEXT_SECONDS = 3600.0
_RANGES = ("drop", "sharpness", "emergence", "final")

Name = Annotated[str | None, typer.Option(help="Name; default: the first with curves.")]
Text = Annotated[str | None, typer.Option(help="Text that ends in the answer token.")]
Regex = Annotated[str | None, typer.Option(help="RE2 pattern; its match ends in the answer token.")]
TokenText = Annotated[str | None, typer.Option(help="Exact answer token, or its id as #123.")]
TokenPattern = Annotated[str | None, typer.Option(help="RE2 pattern on the answer token alone.")]
Source = Annotated[
    str | None, typer.Option(help="Source of the document; * at its end matches any ending.")
]
Index = Annotated[int | None, typer.Option(min=0, help="Index or id.")]
Classes = Annotated[list[str] | None, typer.Option("--cls", help="Curve class; may be repeated.")]
Bound = Annotated[float | None, typer.Option(help="In nats; emergence in units of the axis.")]
Published = Annotated[
    str | None, typer.Option(help="Class by the published rule: monogenic or polygenic.")
]
Largest = Annotated[int | None, typer.Option(min=1, help="Right under only the k largest models.")]
Right = Annotated[
    float | None, typer.Option(help="A model is right below this loss, nats (default ln 2).")
]
Sketch = Annotated[str | None, typer.Option(help="Search for a curve: x:nats,x:nats,…")]
Preset = Annotated[
    str | None, typer.Option(help="Search for a preset: step, smooth, u, hump, late, …")
]
Step = Annotated[
    int | None, typer.Option(min=1, help="For the preset step: the first low point, from 1.")
]
Inv = Annotated[
    list[str] | None,
    typer.Option(help="Difference to ignore: level, scale or shift; may be repeated."),
]
Sort = Annotated[str | None, typer.Option(help="Sort key: distance, index, drop, sharpness, …")]
Order = Annotated[str, typer.Option(help="asc (default) or desc.")]


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
    """Export the matches of a token search with contexts, curves, classes and scores."""
    _export(dict(locals()))


def _export(options: dict[str, Any]) -> None:
    from backend.exchange.exports import predictions_table
    from backend.search.search import rank_predictions

    request, limit = _search_request(options), options["limit"]
    write_export(
        lambda store: predictions_table(
            store, rank_predictions(store, request, limit, TEXT_SECONDS), context=options["context"]
        ),
        *(options[name] for name in ("out", "format", "force", "as_json")),
    )


def _choice(value: str | None, choices: tuple[str, ...], name: str) -> Any:
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{value!r}; choose from {', '.join(choices)}", param_hint=name)
    return value


def _shape(options: dict[str, Any]) -> "Shape | None":
    from typing import get_args

    from backend.search.request import Shape
    from backend.search.views import Preset

    names = [name for name in ("sketch", "preset", "like") if options[name] is not None]
    if not names:
        return None
    if len(names) > 1:
        raise typer.BadParameter("choose one curve to search for", param_hint=f"--{names[1]}")
    preset = _choice(options["preset"], get_args(Preset), "--preset")
    sketch = _knots(options["sketch"]) if options["sketch"] else None
    return Shape(sketch, preset, options["at"], options["like"])


def _knots(text: str) -> tuple[tuple[float, float], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return tuple((float(x), float(y)) for x, y in pairs)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}; write knots such as 1e6:2.5,1e7:0.1", param_hint="--sketch"
        ) from error


def _search_request(options: dict[str, Any]) -> "SearchRequest":
    from typing import get_args

    from backend.search.request import RIGHT_NATS, SearchFilters, SearchRequest
    from backend.search.text_filters import TextFilter
    from backend.search.views import Invariance, Sort

    ranges: dict[str, Any] = {n: (options[f"{n}_min"], options[f"{n}_max"]) for n in _RANGES}
    others: dict[str, Any] = {n: options[n] for n in ("published", "only_largest", "cluster")}
    text_fields = ("text", "regex", "token", "token_pattern", "source", "document")
    invariances = [_choice(name, get_args(Invariance), "--inv") for name in options["inv"] or ()]
    return SearchRequest(
        **{name: options[name] for name in ("corpus", "suite", "model")},
        axis=_choice(options["axis"], ("N", "S"), "--axis"),
        shape=_shape(options),
        invariances=tuple(invariances) if options["inv"] else None,
        filters=SearchFilters(
            text=TextFilter(**{name: options[name] for name in text_fields}),
            classes=tuple(options["classes"] or ()),
            **ranges,
            **others,
            right_nats=RIGHT_NATS if options["right"] is None else options["right"],
        ),
        sort=_choice(options["sort"], get_args(Sort), "--sort"),
        order=_choice(options["order"], ("asc", "desc"), "--order"),
    )

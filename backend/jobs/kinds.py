"""Kinds of jobs: what each may be asked, checked before anything is queued.

Checked parameters name everything (no defaults, no current state), so that their hash is the
job's content key: equal requests meet in one job.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    finished_evaluations,
    has_weights,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.measures import checked_measures
from backend.models import Checkpoint, Corpus, Document, Suite
from backend.targets import find_token

Kind = Literal["evaluate", "classify", "discover", "measure", "paste"]
KINDS: tuple[Kind, ...] = ("evaluate", "classify", "discover", "measure", "paste")
# What the progress of a kind counts.
KIND_UNITS: dict[Kind, str] = {
    "evaluate": "chunks",
    "classify": "stages",
    "discover": "stages",
    "measure": "checkpoints",
    "paste": "steps",
}
MAX_TEXT = 20_000
Which = Literal["one", "final", "steps", "all"]
WHICH: tuple[Which, ...] = ("one", "final", "steps", "all")


# Published settings (arXiv:2303.13506, section 5) where they are not about the size of a corpus.
DISCOVERY = {
    "threshold_nats": 0.1,
    "induction_filter": True,
    "stride": 1,
    "limit": 10_000,
    "n_init": 30,
    "seed": 0,
}


class Asked(TypedDict, total=False):
    """What a request may say; which of it a kind needs, `checked` tells.

    Attributes:
        corpus: whose document, or (paste) whose tokenizer, prefix and length are used.
        document: number of the document (measure).
        target: a token as text or `id:198` (measure).
        text: the text (paste).
        suite: default: the first that is evaluated on the corpus.
        model: default: the largest (for checkpoints "one" and "steps").
        step: default: the last (for checkpoints "one").
        checkpoints: "one", "final" (each model's last), "steps" (of one model) or "all".
        models: default: all (evaluate).
        steps: default: all of each model (evaluate).
        measures: "rank", "entropy" (evaluate).
        threshold_nats, induction_filter, stride, limit: of the selection (discover).
        n_clusters, n_init, seed: of the clusterings (discover).
    """

    corpus: str | None
    document: int | None
    target: str | None
    text: str | None
    suite: str | None
    model: str | None
    step: int | None
    checkpoints: Which | None
    models: list[str] | None
    steps: list[int] | None
    measures: list[str] | None
    threshold_nats: float | None
    induction_filter: bool | None
    stride: int | None
    limit: int | None
    n_clusters: list[int] | None
    n_init: int | None
    seed: int | None


def checked(session: Session, kind: Kind, asked: Asked) -> dict[str, Any]:
    """Return the complete parameters of a job.

    Raises:
        InvalidInputError: a parameter is missing, or cannot be used; names it.
        NotFoundError: an unknown corpus, document, suite, model or step.
        NotReadyError: no suite is evaluated on the corpus.
    """
    run: dict[Kind, Callable[[Session, Asked], dict[str, Any]]] = {
        "evaluate": _evaluate,
        "classify": _classify,
        "discover": _discover,
        "measure": _measure,
        "paste": _paste,
    }
    return run[kind](session, asked)


Needed = Literal["corpus", "target", "text", "document", "suite", "n_clusters"]


def _needed(asked: Asked, name: Needed) -> Any:
    value = asked.get(name)
    if value is None or value == "":
        raise InvalidInputError(f"{name} is missing", f"Send {name}", name)
    return value


def _evaluate(session: Session, asked: Asked) -> dict[str, Any]:
    corpus = corpus_named(session, _needed(asked, "corpus"))
    suite = _with_weights(suite_named(session, _needed(asked, "suite")))
    if tokenizer_of(corpus).key != suite.tokenizer_key:
        raise InvalidInputError(
            f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
            "Name a corpus that was added with the suite's tokenizer",
            "corpus",
        )
    names = asked.get("models")
    models = [model_named(suite, name) for name in names] if names else suite.models
    steps = asked.get("steps")
    chosen = [
        checkpoint_at(model, step)
        for model in models
        for step in (steps or [c.step for c in model.checkpoints])
    ]
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "checkpoints": _places(chosen),
        "measures": list(checked_measures(asked.get("measures") or ())),
    }


def _classify(session: Session, asked: Asked) -> dict[str, Any]:
    corpus = corpus_named(session, _needed(asked, "corpus"))
    suite = suite_named(session, _needed(asked, "suite"))
    found = finished_evaluations(session, corpus, suite)
    if not found:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`, or submit a job for it",
        )
    # What is classified is what is evaluated now: later evaluations make another job.
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "evaluations": [evaluation.key[:16] for evaluation in found],
    }


def _discover(session: Session, asked: Asked) -> dict[str, Any]:
    corpus = corpus_named(session, _needed(asked, "corpus"))
    suite = _with_weights(suite_named(session, _needed(asked, "suite")))
    name = asked.get("model")
    model = model_named(suite, name) if name else suite.models[-1]
    checkpoint = checkpoint_at(model, asked.get("step"))
    finished_evaluation(session, corpus, checkpoint)
    given: dict[str, Any] = {**DISCOVERY, **{k: v for k, v in asked.items() if v is not None}}
    numbers = sorted(set(_needed(asked, "n_clusters")))
    least = {"threshold_nats": 0.0, "stride": 0, "limit": 0, "n_init": 0, "seed": -1}
    for name, bound in least.items():
        if not given[name] > bound:
            raise InvalidInputError(f"{name} is {given[name]}", f"Choose more than {bound}", name)
    if numbers[0] < 2:
        raise InvalidInputError(f"n_clusters holds {numbers[0]}", "Choose 2 or more", "n_clusters")
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "model": checkpoint.model.name,
        "step": checkpoint.step,
        **{name: given[name] for name in DISCOVERY},
        "n_clusters": numbers,
    }


def _measure(session: Session, asked: Asked) -> dict[str, Any]:
    corpus = corpus_named(session, _needed(asked, "corpus"))
    tokenizer_of(corpus)  # refuses one without text
    document = _needed(asked, "document")
    if session.get(Document, (corpus.id, document)) is None:
        raise NotFoundError(
            f"corpus {corpus.name} has no document {document}",
            f"Its documents are 0 to {corpus.n_documents - 1}",
        )
    suite = _suite(session, corpus, asked.get("suite"))
    return {
        "corpus": corpus.name,
        "document": document,
        "token": find_token(session, corpus, _needed(asked, "target")),
        "suite": suite.name,
        "checkpoints": _places(_chosen(session, corpus, suite, asked)),
    }


def _suite(session: Session, corpus: Corpus, name: str | None) -> Suite:
    if name:
        return _with_weights(suite_named(session, name))
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if has_weights(suite) and finished_evaluations(session, corpus, suite):
            return suite
    raise NotReadyError(
        f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
    )


def _with_weights(suite: Suite) -> Suite:
    if not has_weights(suite):
        raise InvalidInputError(
            f"suite {suite.name} was imported as losses: it has no weights to compute with",
            "Choose another suite; `quanta suite add` registers weights",
            "suite",
        )
    return suite


def _places(checkpoints: Sequence[Checkpoint]) -> list[list[str | int]]:
    return [[c.model.name, c.step] for c in checkpoints]


def _chosen(session: Session, corpus: Corpus, suite: Suite, asked: Asked) -> list[Checkpoint]:
    """Return the evaluated checkpoints that are asked for, by size, then step."""
    known = [e.checkpoint for e in finished_evaluations(session, corpus, suite)]
    if not known:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`",
        )
    which = asked.get("checkpoints") or "one"
    if which == "all":
        return known
    last = {c.model_id: c for c in known}
    if which == "final":
        return list(last.values())
    name = asked.get("model")
    model = model_named(suite, name) if name else known[-1].model
    if which == "steps":
        return [c for c in known if c.model_id == model.id]
    step = asked.get("step")
    if step is None and model.id in last:
        return [last[model.id]]
    return [checkpoint_at(model, step)]


def _paste(session: Session, asked: Asked) -> dict[str, Any]:
    text = checked_text(_needed(asked, "text"))
    suite, like = _home(session, asked)
    finals = {m.name: m.checkpoints[-1] for m in suite.models if m.checkpoints}
    which = asked.get("checkpoints") or "final"
    if which not in {"final", "all"}:
        raise InvalidInputError(
            f"checkpoints {which!r} is not for pasted text", "Choose final or all", "checkpoints"
        )
    everything = [c for m in suite.models for c in m.checkpoints]
    return {
        "text": text,
        "corpus": like.name,
        "suite": suite.name,
        "checkpoints": _places(everything if which == "all" else list(finals.values())),
    }


def _home(session: Session, asked: Asked) -> tuple[Suite, Corpus]:
    """Return the suite, and the corpus whose tokenizer, prefix and length pasted text takes."""
    name = asked.get("corpus")
    if name:
        corpus = corpus_named(session, name)
        tokenizer = tokenizer_of(corpus)
        suite = _suite(session, corpus, asked.get("suite"))
        if tokenizer.key != suite.tokenizer_key:
            raise InvalidInputError(
                f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
                "Leave corpus out, or name one that was added with the suite's tokenizer",
                "corpus",
            )
        return suite, corpus
    wanted = asked.get("suite")
    suites = (
        [_with_weights(suite_named(session, wanted))]
        if wanted
        else session.scalars(select(Suite).order_by(Suite.id)).all()
    )
    corpora = session.scalars(select(Corpus).order_by(Corpus.id)).all()
    for suite in suites:
        for corpus in corpora:
            if corpus.tokenizer is not None and corpus.tokenizer.key == suite.tokenizer_key:
                return suite, corpus
    raise NotReadyError(
        "no corpus has the tokenizer of a suite yet", "Run `quanta demo`, or `quanta corpus add`"
    )


def checked_text(text: str) -> str:
    """Return pasted text with plain line ends.

    Raises:
        InvalidInputError: empty, too long, or not text.
    """
    if len(text) > MAX_TEXT:
        raise InvalidInputError(
            f"text has {len(text):,} characters", f"Send at most {MAX_TEXT:,}", "text"
        )
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInputError(
            "text holds a zero byte or half a surrogate pair", "Send plain text", "text"
        )
    if not text.strip():
        raise InvalidInputError("text is empty", "Paste at least two words", "text")
    # A form sends CRLF whatever was typed; models were trained on line feeds.
    return text.replace("\r\n", "\n")


def shown_parameters(parameters: Mapping[str, Any], most: int = 200) -> dict[str, Any]:
    """Return parameters with long text cut, for lists."""

    def cut(value: Any) -> Any:
        if isinstance(value, str) and len(value) > most:
            return value[:most] + "…"
        if isinstance(value, list) and len(value) > most:
            return [*value[:most], "…"]
        return value

    return {name: cut(value) for name, value in parameters.items()}

"""Kinds of jobs: what each may be asked, checked before anything is queued.

Checked parameters name everything (no defaults, no current state), so that their hash is the
job's content key: equal requests meet in one job.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluations,
    has_weights,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.models import Checkpoint, Corpus, Document, Suite
from backend.targets import find_token

Kind = Literal["measure", "paste"]
KINDS: tuple[Kind, ...] = ("measure", "paste")
MAX_TEXT = 20_000
Which = Literal["one", "final", "steps", "all"]
WHICH: tuple[Which, ...] = ("one", "final", "steps", "all")


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
    """

    corpus: str | None
    document: int | None
    target: str | None
    text: str | None
    suite: str | None
    model: str | None
    step: int | None
    checkpoints: Which | None


def checked(session: Session, kind: Kind, asked: Asked) -> dict[str, Any]:
    """Return the complete parameters of a job.

    Raises:
        InvalidInputError: a parameter is missing, or cannot be used; names it.
        NotFoundError: an unknown corpus, document, suite, model or step.
        NotReadyError: no suite is evaluated on the corpus.
    """
    return {"measure": _measure, "paste": _paste}[kind](session, asked)


def _needed(asked: Asked, name: Literal["corpus", "target", "text", "document"]) -> Any:
    value = asked.get(name)
    if value is None or value == "":
        raise InvalidInputError(f"{name} is missing", f"Send {name}", name)
    return value


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
    return {
        name: value[:most] + "…" if isinstance(value, str) and len(value) > most else value
        for name, value in parameters.items()
    }

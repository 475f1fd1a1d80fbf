"""paste: text of one's own becomes a corpus of one document, evaluated and classified."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotReadyError
from backend.jobs.kinds.base import (
    Checked,
    Cost,
    JobKind,
    forward_flop,
    placed,
    places,
    with_weights,
)
from backend.jobs.kinds.measure import chosen_suite
from backend.schemas.parameters import NAME_PATTERN, Parameters
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named, tokenizer_of
from backend.store.tables import Corpus, Suite

MAX_TEXT = 20_000
MAX_SENT_TEXT = 200_000


class PasteParameters(Parameters):
    """Text of one's own."""

    text: str = Field(
        max_length=MAX_SENT_TEXT,
        title="Text",
        description=f"At most {MAX_TEXT:,} characters",
        examples=["one two three four\n"],
    )
    corpus: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        title="Corpus",
        description="Whose tokenizer, prefix and length are used",
    )
    suite: str | None = Field(None, pattern=NAME_PATTERN, title="Suite")
    checkpoints: Literal["final", "all"] = Field("final", title="Checkpoints")


def _check(store: Store, session: Session, asked: PasteParameters) -> Checked:
    text = checked_text(asked.text)
    suite, like = _home(session, asked)
    finals = {m.name: m.checkpoints[-1] for m in suite.models if m.checkpoints}
    everything = [c for m in suite.models for c in m.checkpoints]
    chosen = everything if asked.checkpoints == "all" else list(finals.values())
    return {
        "text": text,
        "corpus": like.name,
        "suite": suite.name,
        "checkpoints": places(chosen),
    }


def _home(session: Session, asked: PasteParameters) -> tuple[Suite, Corpus]:
    """Return the suite, and the corpus whose tokenizer, prefix and length pasted text takes."""
    if asked.corpus:
        corpus = corpus_named(session, asked.corpus)
        tokenizer = tokenizer_of(corpus)
        suite = chosen_suite(session, corpus, asked.suite)
        if tokenizer.key != suite.tokenizer_key:
            raise InvalidInputError(
                f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
                "Leave corpus out, or name one that was added with the suite's tokenizer",
                "corpus",
            )
        return suite, corpus
    suites = (
        [with_weights(suite_named(session, asked.suite))]
        if asked.suite
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


def pasted_name(parameters: Mapping[str, Any]) -> str:
    """Return the name of the corpus of a pasted text: equal texts share one."""
    content = [parameters["text"], parameters["corpus"]]
    return f"paste-{sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    chosen = placed(suite_named(session, parameters["suite"]), parameters["checkpoints"])
    # A token has some four characters.
    return Cost(len(chosen) + 2, forward_flop(chosen, len(parameters["text"]) // 4 + 1), "FLOP")


PASTE = JobKind(
    name="paste",
    title="Your own text",
    summary="Pasted text as a corpus of one document, evaluated and classified.",
    unit="steps",
    schema=PasteParameters,
    check=_check,
    cost=_cost,
    on_form=False,
)

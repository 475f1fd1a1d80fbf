"""paste: pasted text becomes a corpus of one document, evaluated and classified."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotReadyError
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.checkpoints import as_pairs, checkpoint_id, find_checkpoints, forward_flop
from backend.jobs.kinds.measure import choose_suite
from backend.jobs.kinds.plans import Plan, Slice
from backend.progress import Silent
from backend.read.checkpoints import require_weights
from backend.read.measures import MEASURES
from backend.schemas.parameters import NAME_PATTERN, Parameters
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named, tokenizer_of
from backend.store.tables import Corpus, Suite

MAX_TEXT = 20_000
MAX_REQUEST_TEXT = 200_000


class PasteParameters(Parameters):
    """Pasted text."""

    text: str = Field(
        max_length=MAX_REQUEST_TEXT,
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


def _validate(store: Store, session: Session, request: PasteParameters) -> JobParams:
    text = validate_text(request.text)
    suite, template = _choose_template(session, request)
    checkpoints = (
        [c for model in suite.models for c in model.checkpoints]
        if request.checkpoints == "all"
        else [model.checkpoints[-1] for model in suite.models if model.checkpoints]
    )
    return {
        "text": text,
        "corpus": template.name,
        "suite": suite.name,
        "checkpoints": as_pairs(checkpoints),
    }


def _choose_template(session: Session, request: PasteParameters) -> tuple[Suite, Corpus]:
    """Return the suite, and the corpus that gives tokenizer, prefix and length."""
    if request.corpus:
        corpus = corpus_named(session, request.corpus)
        tokenizer = tokenizer_of(corpus)
        suite = choose_suite(session, corpus, request.suite)
        if tokenizer.key != suite.tokenizer_key:
            raise InvalidInputError(
                f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
                "Leave corpus out, or name one that was added with the suite's tokenizer",
                "corpus",
            )
        return suite, corpus
    suites = (
        [require_weights(suite_named(session, request.suite))]
        if request.suite
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


def validate_text(text: str) -> str:
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


def pasted_name(params: Mapping[str, Any]) -> str:
    """Return the name of the corpus of a pasted text: equal texts share one."""
    content = [params["text"], params["corpus"]]
    return f"paste-{sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    checkpoints = find_checkpoints(suite_named(session, params["suite"]), params["checkpoints"])
    n_tokens = len(params["text"]) // 4 + 1  # a token has about four characters
    return Cost(len(checkpoints) + 2, forward_flop(checkpoints, n_tokens), "FLOP")


def _plan(store: Store, params: JobParams, n_workers: int) -> Plan:
    slices: list[Slice] = [["checkpoint", model, step] for model, step in params["checkpoints"]]
    return Plan([[["tokenise"]], slices, [["classify"]]])


def _perform(task: Task) -> None:
    store, params = task.store, task.params
    if task.unit[0] == "tokenise":
        _tokenise(store, params)
        return
    with store.session() as session:
        corpus = corpus_named(session, pasted_name(params))
        suite = suite_named(session, params["suite"])
        if task.unit[0] == "checkpoint":
            checkpoint = checkpoint_id(task, session, *task.unit[1:])
    if task.unit[0] == "checkpoint":
        from backend.stages.evaluate import evaluate

        # Pasted text is short: one chunk.
        with store.claim(f"evaluate {corpus.id} {checkpoint} 0"):
            evaluate(store, corpus, [checkpoint], task.compute, Silent(), MEASURES)
        return
    from backend.stages.classify import classify

    try:
        classify(store, corpus, suite, Silent())
    except NotReadyError:
        return  # a suite of one or two sizes has no curves to classify


def _tokenise(store: Store, params: JobParams) -> None:
    from backend.stages.corpora import CorpusSpec, add_corpus

    with store.session() as session:
        template = corpus_named(session, params["corpus"])
        tokenizer = bytes(tokenizer_of(template).json)
    with TemporaryDirectory(prefix="quanta-paste-") as folder:
        document = {"id": "pasted text", "source": "pasted", "text": params["text"]}
        # Escaped to ASCII, so that line separators in the text do not end the JSON line.
        (Path(folder) / "paste.jsonl").write_text(json.dumps(document), encoding="ascii")
        (Path(folder) / "tokenizer.json").write_bytes(tokenizer)
        spec = CorpusSpec.parse(
            {
                "name": pasted_name(params),
                "files": [Path(folder) / "paste.jsonl"],
                "tokenizer": Path(folder) / "tokenizer.json",
                "max_tokens": template.max_tokens,
                "prefix": template.prefix,
            }
        )
        add_corpus(store, spec, Silent())


def _result(params: JobParams) -> JobResult:
    name = pasted_name(params)
    return {"corpus": name, "document": 0, "page": f"/documents/{name}/0"}


PASTE = JobKind(
    name="paste",
    title="Your own text",
    summary="Pasted text as a corpus of one document, evaluated and classified.",
    unit="steps",
    schema=PasteParameters,
    validate=_validate,
    cost=_cost,
    plan=_plan,
    perform=_perform,
    result=_result,
    has_form=False,
)

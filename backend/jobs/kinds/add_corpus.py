"""add_corpus: documents are tokenised and stored as a corpus."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.jobs.kinds.base import Checked, Cost, JobKind, as_asked
from backend.schemas import names
from backend.schemas.parameters import MAX_INTEGER, NO_NUL, File, Name, Number, Parameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.lookup import tokenizer_of_suite

MAX_TOKENS = 1_048_576


class AddCorpusParameters(Parameters):
    """A corpus of one's own; files lie below `imports` in the server's data directory."""

    name: Name = Field(title="Name", description="Of the corpus, in URLs", examples=["mine"])
    files: list[File] = Field(
        title="Files",
        description=".jsonl (id, source, license, text) or text, below imports",
        min_length=1,
        max_length=1000,
        examples=[["mine.jsonl"]],
    )
    tokenizer: str = Field(
        min_length=1,
        max_length=300,
        pattern=NO_NUL,
        title="Tokenizer",
        description="A suite, or a tokenizer.json below imports",
        examples=["mini"],
    )
    max_tokens: int = Field(1024, ge=2, le=MAX_TOKENS, title="Tokens of a document at most")
    prefix: Annotated[list[Number], Field(max_length=1)] = Field(
        [], title="Prefix", description="Token id before every document", examples=[[0]]
    )
    limit: int | None = Field(
        None, ge=1, le=MAX_INTEGER, title="Documents at most", description="All if left out"
    )


def _check(store: Store, session: Session, asked: AddCorpusParameters) -> Checked:
    names.check(asked.name, "name")
    found = tokenizer_of_suite(session, asked.tokenizer)
    tokenizer: dict[str, str] | files.Known
    if found is not None:
        tokenizer = {"suite": asked.tokenizer, "key": found.key}
    else:
        try:
            tokenizer = files.known(store, asked.tokenizer, "tokenizer")
        except InvalidInputError as error:
            raise InvalidInputError(
                f"tokenizer {asked.tokenizer!r} is neither a registered suite nor a file",
                "Name one of `quanta suite list`, or a tokenizer.json below imports",
                "tokenizer",
            ) from error
    return {
        "name": asked.name,
        "files": [files.known(store, name, "files") for name in asked.files],
        "tokenizer": tokenizer,
        "max_tokens": asked.max_tokens,
        "prefix": asked.prefix,
        "limit": asked.limit,
    }


def _asked(parameters: Checked) -> Checked:
    tokenizer = parameters["tokenizer"]
    return {**as_asked(parameters), "tokenizer": tokenizer.get("suite") or tokenizer.get("file")}


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    size = sum(files.size_of(store, one) for one in parameters["files"])
    return Cost(1, float(size), "bytes")


ADD_CORPUS = JobKind(
    name="add_corpus",
    title="New corpus",
    summary="Documents, tokenised and stored as a corpus.",
    unit="stages",
    schema=AddCorpusParameters,
    check=_check,
    cost=_cost,
    asked=_asked,
)

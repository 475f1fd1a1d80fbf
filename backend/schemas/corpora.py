"""Parameters of a new corpus."""

from typing import Annotated

from pydantic import Field

from backend.schemas.parameters import MAX_INTEGER, NO_NUL, File, Name, Number, Parameters

MAX_TOKENS = 1_048_576


class _CorpusName(Parameters):
    name: Name = Field(title="Name", description="Of the corpus, in URLs", examples=["mine"])


class _ImportedSources(_CorpusName):
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


class CorpusParameters(_CorpusName):
    """Name and cut of a corpus, wherever its files are."""

    max_tokens: int = Field(
        1024,
        ge=2,
        le=MAX_TOKENS,
        title="Maximum tokens of a document",
        description="Longer documents are cut; a prefix counts",
    )
    prefix: Annotated[list[Number], Field(max_length=1)] = Field(
        [], title="Prefix", description="Token id before every document", examples=[[0]]
    )
    limit: int | None = Field(
        None, ge=1, le=MAX_INTEGER, title="Maximum documents", description="All by default"
    )


# Fields of the last base come first in forms.
class AddCorpusParameters(CorpusParameters, _ImportedSources):
    """A new corpus; files are below `imports` in the server's data directory."""

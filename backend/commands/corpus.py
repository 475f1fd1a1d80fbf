"""`quanta corpus`: corpora of text."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, numbers, opened_store, result

corpus_cli = typer.Typer(no_args_is_help=True, help="Corpora of text.")


@corpus_cli.command("add")
def corpus_add(
    files: Annotated[list[Path], typer.Argument(help=".jsonl (id, source, license, text) or text")],
    name: Annotated[str, typer.Option(help="Its name in URLs.")],
    tokenizer: Annotated[Path, typer.Option(help="tokenizer.json of the models.")],
    max_tokens: Annotated[int, typer.Option(help="Cut documents to their first T tokens.")] = 1024,
    prefix: Annotated[str, typer.Option(help="Token ids before every document, such as 0.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Keep the first documents.")] = None,
    as_json: Json = False,
) -> None:
    """Tokenise documents and store them as a corpus."""
    from backend.stages.corpora import CorpusSpec, add_corpus

    spec = CorpusSpec(
        name=name,
        files=tuple(files),
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        prefix=numbers(prefix, "--prefix") if prefix else (),
        limit=limit,
    )
    corpus = add_corpus(opened_store(), spec, bars(as_json))
    result(
        as_json,
        f"corpus {corpus.name}: {corpus.n_documents:,} documents, "
        f"{corpus.n_predictions:,} predictions",
        corpus=corpus.name,
        key=corpus.key,
        documents=corpus.n_documents,
        predictions=corpus.n_predictions,
    )

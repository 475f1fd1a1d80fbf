"""`quanta corpus`: corpora of text."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, parse_numbers, print_result
from backend.errors import InvalidInputError
from backend.store.database import Store
from backend.store.lookup import tokenizer_of_suite

corpus_cli = typer.Typer(no_args_is_help=True, help="Corpora of text.")


def _tokenizer_file(store: Store, text: str) -> Path:
    """Return the file of a tokenizer that is given as a file or as the name of a suite."""
    if Path(text).is_file():
        return Path(text)
    with store.session() as session:
        found = tokenizer_of_suite(session, text)
    if found is None:
        raise InvalidInputError(
            f"{text!r} is neither a tokenizer.json nor a registered suite",
            "Give a file, or a name of `quanta suite list`",
            "tokenizer",
        )
    path = store.settings.cache_dir / f"tokenizer-{found.key[:32]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.json)
    return path


@corpus_cli.command("add")
def corpus_add(
    files: Annotated[list[Path], typer.Argument(help=".jsonl (id, source, license, text) or text")],
    name: Annotated[str, typer.Option(help="Its name in URLs.")],
    tokenizer: Annotated[
        str, typer.Option(help="tokenizer.json of the models, or the name of their suite.")
    ],
    max_tokens: Annotated[int, typer.Option(help="Cut documents to their first T tokens.")] = 1024,
    prefix: Annotated[str, typer.Option(help="Token ids before every document, such as 0.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Keep the first documents.")] = None,
    as_json: Json = False,
) -> None:
    """Tokenise documents and store them as a corpus."""
    from backend.stages.corpora import CorpusSpec, add_corpus

    store = open_default_store()
    spec = CorpusSpec(
        name=name,
        files=tuple(files),
        tokenizer=_tokenizer_file(store, tokenizer),
        max_tokens=max_tokens,
        prefix=parse_numbers(prefix, "--prefix") if prefix else (),
        limit=limit,
    )
    corpus = add_corpus(store, spec, bars(as_json))
    print_result(
        as_json,
        f"corpus {corpus.name}: {corpus.n_documents:,} documents, "
        f"{corpus.n_predictions:,} predictions",
        corpus=corpus.name,
        key=corpus.key,
        documents=corpus.n_documents,
        predictions=corpus.n_predictions,
    )

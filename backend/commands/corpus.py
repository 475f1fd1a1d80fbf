"""`quanta corpus`: corpora of text."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, print_result
from backend.commands.options import parameter_options
from backend.errors import InvalidInputError
from backend.schemas.corpora import CorpusParameters
from backend.store.database import Store
from backend.store.lookup import tokenizer_of_suite

corpus_cli = typer.Typer(no_args_is_help=True, help="Corpora of text.")


def _tokenizer_file(store: Store, text: str) -> Path:
    """Return the file of a tokenizer that is given as a file or as the name of a suite."""
    if Path(text).is_file():
        return Path(text)
    with store.session() as session:
        row = tokenizer_of_suite(session, text)
    if row is None:
        raise InvalidInputError(
            f"{text!r} is neither a tokenizer.json nor a registered suite",
            "Give a file, or a name of `quanta suite list`",
            "tokenizer",
        )
    path = store.settings.cache_dir / f"tokenizer-{row.key[:32]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(row.json)
    return path


@corpus_cli.command("add")
@parameter_options(CorpusParameters)
def corpus_add(
    params: CorpusParameters,
    files: Annotated[list[Path], typer.Argument(help=".jsonl (id, source, license, text) or text")],
    tokenizer: Annotated[
        str, typer.Option(help="tokenizer.json of the models, or the name of their suite.")
    ],
    as_json: Json = False,
) -> None:
    """Tokenise documents and store them as a corpus."""
    from backend.stages.corpora import CorpusSpec, add_corpus

    store = open_default_store()
    paths = {"files": files, "tokenizer": _tokenizer_file(store, tokenizer)}
    spec = CorpusSpec.parse(params.model_dump() | paths)
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

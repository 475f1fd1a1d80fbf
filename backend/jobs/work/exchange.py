"""The work of jobs that read and write files: corpora, imports, exports."""

from pathlib import Path
from tempfile import TemporaryDirectory

from backend.errors import InvalidInputError
from backend.jobs.work.base import Made, Parameters, Task, Work, stages
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.lookup import tokenizer_of_suite


def _tokenizer_file(store: Store, wanted: Parameters, folder: Path) -> Path:
    if "file" in wanted:
        return files.unchanged(
            store, {"file": wanted["file"], "sha256": wanted["sha256"]}, "tokenizer"
        )
    with store.session() as session:
        found = tokenizer_of_suite(session, wanted["suite"])
    if found is None or found.key != wanted["key"]:
        raise InvalidInputError(
            f"suite {wanted['suite']} has another tokenizer than when the job was asked for",
            "Ask again",
            "tokenizer",
        )
    path = folder / "tokenizer.json"
    path.write_bytes(found.json)
    return path


def _add_corpus(task: Task) -> Made:
    parameters = task.parameters
    paths = tuple(files.unchanged(task.store, one, "files") for one in parameters["files"])
    with TemporaryDirectory(prefix="quanta-corpus-") as folder:
        spec = CorpusSpec(
            name=parameters["name"],
            files=paths,
            tokenizer=_tokenizer_file(task.store, parameters["tokenizer"], Path(folder)),
            max_tokens=parameters["max_tokens"],
            prefix=tuple(parameters["prefix"]),
            limit=parameters["limit"],
        )
        corpus = add_corpus(task.store, spec, task.progress)
    return {"documents": corpus.n_documents, "predictions": corpus.n_predictions}


def _added(parameters: Parameters) -> Made:
    name = parameters["name"]
    return {"corpus": name, "page": f"/documents?corpus={name}"}


def _import_losses(task: Task) -> Made:
    from backend.exchange.losses import LossesSpec, import_losses

    parameters = task.parameters
    spec = LossesSpec(
        files.unchanged(task.store, parameters["file"], "file"),
        files.unchanged(task.store, parameters["models"], "models"),
        parameters["unit"],
        parameters["name"],
        parameters["corpus"],
    )
    found = import_losses(task.store, spec, task.progress)
    return {"predictions": found.n_predictions, "evaluations": list(found.evaluations)}


def _imported_losses(parameters: Parameters) -> Made:
    corpus = parameters["corpus"] or parameters["name"]
    page = f"/scaling?suite={parameters['name']}&corpus={corpus}"
    return {"suite": parameters["name"], "corpus": corpus, "page": page}


def _import_labels(task: Task) -> Made:
    from backend.exchange.label_store import LabelsSpec, import_labels

    parameters = task.parameters
    contexts = parameters["contexts"]
    spec = LabelsSpec(
        files.unchanged(task.store, parameters["file"], "file"),
        parameters["name"],
        files.unchanged(task.store, contexts, "contexts") if contexts else None,
    )
    found = import_labels(task.store, spec, task.progress)
    numbers = {str(n): number for n, (number, _) in found.clusterings.items()}
    return {
        "discovery": found.discovery,
        "corpus": found.corpus,
        "clusterings": numbers,
        "page": f"/clusterings/{list(numbers.values())[-1]}",
    }


def _export_name(parameters: Parameters) -> str:
    key = result_key("job", kind="export", parameters=parameters)
    return f"{parameters['what']}-{key[:16]}.{parameters['format']}"


def _export(task: Task) -> Made:
    from backend.exchange import exports
    from backend.exchange.table_files import resolve_format, write_table

    parameters, store = task.parameters, task.store
    path = files.exports(store) / _export_name(parameters)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parameters["what"] == "clusters":
        table = exports.clusters_table(
            store, parameters["clustering"], context=parameters["context"]
        )
    else:
        wanted = exports.Range(parameters["first"], parameters["limit"])
        names = (parameters["suite"], parameters["corpus"])
        if parameters["what"] == "losses":
            table = exports.losses_table(store, *names, wanted)
        else:
            axis = (parameters["axis"], parameters["model"])
            table = exports.curves_table(
                store, exports.named_curve_set(store, *names, *axis), wanted
            )
    with task.progress.task("export", total=table.n_rows, unit="rows") as bar:
        size = write_table(
            table, path, resolve_format(path, None), overwrite=True, on_rows=bar.advance
        )
    return {"rows": table.n_rows, "bytes": size}


def _exported(parameters: Parameters) -> Made:
    return {"file": _export_name(parameters)}


ADD_CORPUS = Work(lambda *_: stages("add"), _add_corpus, _added)
IMPORT_LOSSES = Work(lambda *_: stages("import"), _import_losses, _imported_losses, is_counted=True)
IMPORT_LABELS = Work(
    lambda *_: stages("import"), _import_labels, lambda parameters: {"name": parameters["name"]}
)
EXPORT = Work(lambda *_: stages("export"), _export, _exported)

"""The work of measure and paste jobs: one document, at once."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from backend.errors import NotReadyError
from backend.jobs.kinds.paste import pasted_name
from backend.jobs.work.base import Made, Parameters, Plan, Slice, Task, Work, checkpoint_id
from backend.progress import Silent
from backend.read.measures import MEASURES
from backend.stages.classify import classify
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.evaluate import evaluate
from backend.stages.targets import measure_target
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named, tokenizer_of


def _checkpoints(parameters: Parameters) -> list[Slice]:
    return [["checkpoint", model, step] for model, step in parameters["checkpoints"]]


def _measure_plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
    slices = _checkpoints(parameters)
    return Plan([slices])


def _measure(task: Task) -> None:
    _, model, step = task.unit
    with task.store.session() as session:
        corpus_id = corpus_named(session, task.parameters["corpus"]).id
        checkpoint = checkpoint_id(task, session, model, step)
    place = (corpus_id, task.parameters["document"], task.parameters["token"], checkpoint)
    with task.store.claimed(" ".join(map(str, ("measure", *place)))):
        measure_target(task.store, *place, task.compute.device)


def _measured(parameters: Parameters) -> Made:
    corpus, document, token = (parameters[n] for n in ("corpus", "document", "token"))
    page = f"/documents/{corpus}/{document}?measure=p_token&target=id:{token}"
    return {"corpus": corpus, "document": document, "token": token, "page": page}


def _paste_plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
    slices = _checkpoints(parameters)
    return Plan([[["tokenise"]], slices, [["classify"]]])


def _paste(task: Task) -> None:
    store, parameters = task.store, task.parameters
    if task.unit[0] == "tokenise":
        _tokenise(store, parameters)
        return
    with store.session() as session:
        corpus = corpus_named(session, pasted_name(parameters))
        suite = suite_named(session, parameters["suite"])
        if task.unit[0] == "checkpoint":
            checkpoint = checkpoint_id(task, session, *task.unit[1:])
    if task.unit[0] == "checkpoint":
        # One chunk: pasted text is short.
        with store.claimed(f"evaluate {corpus.id} {checkpoint} 0"):
            evaluate(store, corpus, [checkpoint], task.compute, Silent(), MEASURES)
        return
    try:
        classify(store, corpus, suite, Silent())
    except NotReadyError:
        return  # a suite of one or two sizes has no curves to classify


def _tokenise(store: Store, parameters: Parameters) -> None:
    with store.session() as session:
        like = corpus_named(session, parameters["corpus"])
        tokenizer = bytes(tokenizer_of(like).json)
        max_tokens, prefix = like.max_tokens, tuple(like.prefix)
    with TemporaryDirectory(prefix="quanta-paste-") as folder:
        document = {"id": "pasted text", "source": "pasted", "text": parameters["text"]}
        # Escaped to ASCII: the text's own line separators must not end the JSON line.
        (Path(folder) / "paste.jsonl").write_text(json.dumps(document), encoding="ascii")
        (Path(folder) / "tokenizer.json").write_bytes(tokenizer)
        spec = CorpusSpec(
            name=pasted_name(parameters),
            files=(Path(folder) / "paste.jsonl",),
            tokenizer=Path(folder) / "tokenizer.json",
            max_tokens=max_tokens,
            prefix=prefix,
        )
        add_corpus(store, spec, Silent())


def _pasted(parameters: Parameters) -> Made:
    name = pasted_name(parameters)
    return {"corpus": name, "document": 0, "page": f"/documents/{name}/0"}


MEASURE = Work(_measure_plan, _measure, _measured, is_counted=True)
PASTE = Work(_paste_plan, _paste, _pasted)

"""Registration of a suite of the catalogue: names, sizes, steps and commits from a hub, no weights.

Each model takes four small requests: its branches, the files at one commit, and that commit's
`config.json` and `tokenizer.json`. N is computed from the configuration; a published N that differs
is reported, not used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.progress import Progress
from backend.read.tokens import parse_tokenizer
from backend.schemas import names
from backend.stages.corpora import stored_tokenizer
from backend.stages.register import CheckpointFacts, add_checkpoint, check_vocabulary, suite_row
from backend.store.database import Store
from backend.store.keys import bytes_key
from backend.store.tables import Suite, Tokenizer
from backend.weights.catalogue import TOKENS_A_STEP, CatalogueModel, Family
from backend.weights.hub_download import Hub, RetryPolicy
from backend.weights.hub_locations import HubLocation

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MAIN = "main"
# A person waits for these requests: report an unreachable hub within seconds.
RETRIES = RetryPolicy(tries=3, first_wait=0.5)


@dataclass(frozen=True)
class HubSpec:
    """Models and steps to register.

    Attributes:
        family: of the catalogue.
        name: of the suite.
        description: one sentence for people, the family's if empty.
        models: sizes or names; None for all that the hub has.
        steps: steps to keep; None for all that the hub has.
        required_steps: steps that every model must have.
        endpoint: address of the hub, None for HF_ENDPOINT or huggingface.co.
    """

    family: Family
    name: str
    description: str = ""
    models: tuple[str, ...] | None = None
    steps: frozenset[int] | None = None
    required_steps: frozenset[int] = frozenset()
    endpoint: str | None = None


@dataclass(frozen=True)
class RegisteredSuite:
    """Registered models with their steps, and notes for people."""

    suite: Suite
    models: dict[str, list[int]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _HubModel:
    """One model on the hub: the commits of its steps, and the facts of the last one."""

    model: CatalogueModel
    commits: dict[int, str]
    config: dict[str, Any]
    total: int
    nonembedding: int
    tokenizer: bytes


def _format_steps(steps: Iterable[int]) -> str:
    listed = sorted(steps)
    ends = [*listed[:3], "…", *listed[-2:]] if len(listed) > 6 else listed
    return ", ".join(str(step) for step in ends) or "none"


def _select_commits(
    spec: HubSpec, model: CatalogueModel, branches: dict[str, str]
) -> dict[int, str]:
    """Return {step: commit} of the requested steps."""
    available = {
        int(name.removeprefix("step")): commit
        for name, commit in branches.items()
        if name.startswith("step") and name.removeprefix("step").isdigit()
    }
    missing = spec.required_steps - set(available)
    if missing:
        raise NotFoundError(
            f"{model.repository} has no revision step{min(missing)}",
            f"Its steps are {_format_steps(available)}",
        )
    selected = {
        step: available[step]
        for step in sorted(available)
        if spec.steps is None or step in spec.steps
    }
    if not selected:
        raise NotFoundError(
            f"{model.repository} has none of the requested steps",
            f"Its steps are {_format_steps(available)}",
        )
    return selected


def _fetch_files(hub: Hub, location: HubLocation, folder: Path, *names: str) -> set[str]:
    """Fetch files into `folder`; return the names of those that the hub has."""
    files = hub.files(location)
    present = {name for name in names if name in files}
    for name in present:
        hub.download(location, files[name], folder)
    return present


def _fetch_facts(
    hub: Hub, repository: str, commit: str, branches: dict[str, str], folder: Path
) -> None:
    """Fetch configuration and tokenizer of a commit into `folder`."""
    location = HubLocation(repository, commit)
    present = _fetch_files(hub, location, folder, CONFIG, TOKENIZER)
    if CONFIG not in present:
        raise InvalidInputError(
            f"{location.short} has no {CONFIG}", "Choose another revision: --step", "step"
        )
    # Some revisions have no tokenizer; it does not change during training.
    if TOKENIZER not in present and MAIN in branches:
        present |= _fetch_files(hub, HubLocation(repository, branches[MAIN]), folder, TOKENIZER)
    if TOKENIZER not in present:
        raise InvalidInputError(
            f"{repository} has no {TOKENIZER}", "Only models with one can be registered"
        )


def _fetch_model(
    hub: Hub, spec: HubSpec, model: CatalogueModel, branches: dict[str, str], folder: Path
) -> _HubModel:
    from compute import checkpoints

    commits = _select_commits(spec, model, branches)
    _fetch_facts(hub, model.repository, commits[max(commits)], branches, folder)
    try:
        counts = checkpoints.parameter_counts_from_config(folder)
        config = checkpoints.read_config(folder)
    except checkpoints.CheckpointError as error:
        raise InvalidInputError(
            f"{model.repository} step {max(commits)}: {error}", "Nothing was registered"
        ) from error
    tokenizer = (folder / TOKENIZER).read_bytes()
    return _HubModel(model, commits, config, counts.total, counts.nonembedding, tokenizer)


def _branches(hub: Hub, spec: HubSpec, model: CatalogueModel) -> dict[str, str]:
    """Return the branches of a model; none if it is not on the hub and was not named."""
    try:
        return hub.branches(model.repository)
    except NotFoundError:
        if spec.models:
            raise
        return {}


def _fetch_models(hub: Hub, spec: HubSpec, progress: Progress) -> tuple[list[_HubModel], list[str]]:
    """Return (models on the hub, names of those that it lacks)."""
    models = spec.family.select_models(list(spec.models) if spec.models else None)
    hub_models, lacking = [], []
    with progress.task(f"look up {spec.family.name}", len(models), unit="models") as bar:
        for model in models:
            if branches := _branches(hub, spec, model):
                with TemporaryDirectory(prefix="quanta-hub-") as folder:
                    hub_models.append(_fetch_model(hub, spec, model, branches, Path(folder)))
            else:
                lacking.append(model.name)
            bar.advance()
    if not hub_models:
        raise NotFoundError(
            f"{hub.address} has no model of {spec.family.name}", "Check --endpoint or HF_ENDPOINT"
        )
    return hub_models, lacking


def _canonical(tokenizer: bytes) -> str:
    """Return a tokenizer in a form that does not depend on how its file is written."""
    parsed = parse_tokenizer(tokenizer)
    parsed.no_truncation()
    parsed.no_padding()
    return str(parsed.to_str())


def _shared_tokenizer(session: Session, spec: HubSpec, hub_models: list[_HubModel]) -> bytes:
    """Return the tokenizer that all models share; a registered suite keeps its own."""
    registered = session.scalars(
        select(Tokenizer.json)
        .join(Suite, Suite.tokenizer_key == Tokenizer.key)
        .where(Suite.name == spec.name)
    ).one_or_none()
    shared = registered or hub_models[0].tokenizer
    canonical = _canonical(shared)
    for item in hub_models:
        if item.tokenizer != shared and _canonical(item.tokenizer) != canonical:
            raise InvalidInputError(
                f"{item.model.repository} has another tokenizer than the rest of suite {spec.name}",
                "Register it as a suite of its own: --name and --model",
            )
    return shared


def _notes(
    spec: HubSpec, hub_models: list[_HubModel], lacking: list[str]
) -> tuple[list[str], list[str]]:
    """Return (notes for the suite's description, notes for the person who registers it)."""
    permanent = [
        f"{f.model.name}: N is {f.nonembedding:,} by its config.json; published is "
        f"{f.model.nonembedding:,}"
        for f in hub_models
        if f.model.nonembedding is not None and f.model.nonembedding != f.nonembedding
    ]
    transient = [f"{name} is not on the hub and was left out" for name in lacking]
    for f in hub_models:
        steps = set(spec.family.steps)
        requested = steps if spec.steps is None else spec.steps & steps
        if missing := requested - set(f.commits):
            transient.append(f"{f.model.name} lacks {len(missing)} steps: {_format_steps(missing)}")
    return permanent, transient


def _facts(item: _HubModel, endpoint: str | None) -> list[CheckpointFacts]:
    repository = item.model.repository
    return [
        CheckpointFacts(
            model=item.model.name,
            step=step,
            location=str(HubLocation(repository, commit, endpoint)),
            # The commit is a hash over all files; where they are fetched from does not matter.
            key=bytes_key(f"hub:{repository}@{commit}".encode()),
            config=item.config,
            parameters=item.total,
            nonembedding=item.nonembedding,
            tokens_seen=TOKENS_A_STEP * step,
        )
        for step, commit in item.commits.items()
    ]


def add_hub_suite(store: Store, spec: HubSpec, progress: Progress) -> RegisteredSuite:
    """Register models and checkpoints of a family; a registered suite gets those that it lacks.

    Raises:
        NotFoundError: the hub lacks a requested model or step.
        InvalidInputError: a configuration or tokenizer that cannot be used.
        QuantaError: the hub cannot be reached.

    Nothing is registered if an error is raised.
    """
    names.check(spec.name, "suite name")
    hub = Hub(spec.endpoint, RETRIES, say=progress.say)
    hub_models, lacking = _fetch_models(hub, spec, progress)
    permanent, transient = _notes(spec, hub_models, lacking)
    with store.begin() as session:
        data = _shared_tokenizer(session, spec, hub_models)
        tokenizer = stored_tokenizer(session, data, parse_tokenizer(data))
        for item in hub_models:
            rows = item.config.get("vocab_size")
            check_vocabulary(item.model.repository, rows, tokenizer.vocabulary_size)
        description = spec.description or spec.family.description
        suite = suite_row(session, spec.name, description, tokenizer.key)
        for note in permanent:
            if note not in suite.description:
                suite.description = f"{suite.description}. {note}"
        for item in hub_models:
            transient += _add_checkpoints(session, suite, item, spec.endpoint)
    return RegisteredSuite(
        suite, {f.model.name: list(f.commits) for f in hub_models}, (*permanent, *transient)
    )


def _add_checkpoints(
    session: Session, suite: Suite, item: _HubModel, endpoint: str | None
) -> list[str]:
    """Register one model's steps; return notes.

    A branch with a new commit (a changed README is one too) keeps the registered commit: results
    belong to that one, and the hub still has it.
    """
    keys = {(m.name, c.step): c.key for m in suite.models for c in m.checkpoints}
    moved = set()
    for facts in _facts(item, endpoint):
        if keys.get((facts.model, facts.step), facts.key) != facts.key:
            moved.add(facts.step)
        else:
            add_checkpoint(session, suite, facts)
    if not moved:
        return []
    return [
        f"{item.model.name} keeps the commits registered before for steps {_format_steps(moved)}"
    ]

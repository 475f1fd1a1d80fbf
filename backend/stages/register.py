"""Rows of suites, models and checkpoints, for suites from folders and from hubs."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.schemas import names
from backend.store.tables import Checkpoint, Model, Suite

# Vocabularies are padded for speed, Pythia's to multiples of 128 or 512; more rows than this
# belong to another tokenizer.
PADDING_MULTIPLE = 1_024


@dataclass(frozen=True)
class CheckpointFacts:
    """A checked checkpoint, ready to be registered.

    Attributes:
        model: name of its model.
        step: training step.
        location: folder, or a hub's repository and commit.
        key: identifies the weights.
        config: its `config.json`.
        parameters: number of all parameters.
        nonembedding: N.
        tokens_seen: training tokens, None where unknown.
    """

    model: str
    step: int
    location: str
    key: str
    config: dict[str, Any]
    parameters: int
    nonembedding: int
    tokens_seen: int | None


def check_vocabulary(source: str, rows: Any, size: int) -> None:
    """Check that a model has the tokenizer's vocabulary.

    Raises:
        InvalidInputError: fewer rows than tokens, or more than padding explains.
    """
    padded_size = -(-size // PADDING_MULTIPLE) * PADDING_MULTIPLE
    if not isinstance(rows, int) or not size <= rows <= padded_size:
        raise InvalidInputError(
            f"{source}: vocab_size is {rows}, the tokenizer has {size} entries "
            f"(padded at padded_size {padded_size})",
            "Use the tokenizer that the model was trained with",
        )


def suite_row(session: Session, name: str, description: str, tokenizer_key: str) -> Suite:
    """Return the suite of a name; create it if there is none.

    Raises:
        InvalidInputError: it is registered with another tokenizer.
    """
    suite = session.scalars(select(Suite).where(Suite.name == name)).one_or_none()
    if suite is None:
        suite = Suite(name=name, description=description, tokenizer_key=tokenizer_key)
        session.add(suite)
    if suite.tokenizer_key != tokenizer_key:
        raise InvalidInputError(
            f"suite {name} is registered with another tokenizer", "Choose another name", "name"
        )
    return suite


def _model_row(session: Session, suite: Suite, facts: CheckpointFacts) -> Model:
    name = names.check(facts.model, "model name")
    for model in suite.models:
        if model.name == name:
            return model
    model = Model(
        suite=suite,
        name=name,
        parameters=facts.parameters,
        nonembedding_parameters=facts.nonembedding,
        config=facts.config,
    )
    session.add(model)
    session.flush()
    return model


def add_checkpoint(session: Session, suite: Suite, facts: CheckpointFacts) -> None:
    """Register one checkpoint; a registered one takes the new location.

    Raises:
        InvalidInputError: the step is registered with other weights, or the model with another N.
    """
    model = _model_row(session, suite, facts)
    for row in model.checkpoints:
        if row.step == facts.step and row.key != facts.key:
            raise InvalidInputError(
                f"{model.name} step {facts.step} is registered with other weights",
                "Register changed weights under another suite name",
            )
        if row.step == facts.step:
            row.location = facts.location  # it may have moved; the weights are the same
            return
    if model.nonembedding_parameters != facts.nonembedding:
        raise InvalidInputError(
            f"{model.name} step {facts.step} has N = {facts.nonembedding:,}, "
            f"the model is registered with {model.nonembedding_parameters:,}",
            "Give models of different sizes different names",
        )
    model.checkpoints.append(
        Checkpoint(
            step=facts.step, tokens_seen=facts.tokens_seen, key=facts.key, location=facts.location
        )
    )

"""Parameters of a discovery: selection of predictions, checkpoint, and clustering."""

from typing import Annotated

from pydantic import AliasChoices, Field

from backend.schemas.parameters import (
    MAX_INTEGER,
    CorpusName,
    ModelName,
    Number,
    Parameters,
    SuiteName,
    with_unit,
)


class DiscoverParameters(Parameters):
    """A discovery; defaults are the published settings where they are not a corpus's size."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="Evaluated under the checkpoint")
    model: ModelName | None = Field(
        None, title="Model", description="Largest by default", examples=["s3"]
    )
    step: Number | None = Field(None, title="Step", description="Last by default")
    max_loss_nats: float = Field(
        0.1,
        gt=0,
        le=100,
        allow_inf_nan=False,
        # The name before it was renamed: in old requests.
        validation_alias=AliasChoices("max_loss_nats", "threshold_nats"),
        title="Maximum loss",
        description="Keep predictions with a loss below it",
        json_schema_extra=with_unit("nats"),
    )
    induction_filter: bool = Field(
        True, title="Induction filter", description="Leave out copies of earlier trigrams"
    )
    stride: int = Field(
        1, ge=1, le=MAX_INTEGER, title="Stride", description="Keep every stride-th prediction"
    )
    limit: int = Field(
        10_000, ge=10, le=100_000, title="Limit", description="Keep at most this many predictions"
    )
    n_clusters: list[Annotated[int, Field(ge=2, le=100_000)]] = Field(
        title="Numbers of clusters", min_length=1, max_length=200, examples=[[10, 20, 50]]
    )
    n_init: int = Field(30, ge=1, le=1000, title="k-means starts")
    seed: Number = Field(0, title="Seed of the k-means starts")

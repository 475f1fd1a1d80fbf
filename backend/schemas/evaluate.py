"""Parameters of an evaluation: losses of every token of a corpus."""

from typing import Annotated, Literal

from pydantic import Field

from backend.schemas.parameters import CorpusName, ModelName, Number, Parameters, SuiteName


class EvaluateParameters(Parameters):
    """Losses of every token of a corpus."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="With the suite's tokenizer")
    models: Annotated[list[ModelName], Field(max_length=100)] | None = Field(
        None, title="Models", description="All by default", examples=[["s1", "s2"]]
    )
    steps: Annotated[list[Number], Field(max_length=1000)] | None = Field(
        None, title="Steps", description="All of each model by default", examples=[[0, 2000]]
    )
    measures: Annotated[list[Literal["rank", "entropy"]], Field(max_length=2)] | None = Field(
        None, title="Measures", description="Stored beside the losses", examples=[["rank"]]
    )

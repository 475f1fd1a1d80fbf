"""Parameters of a classification of curves."""

from pydantic import Field

from backend.schemas.parameters import CorpusName, Parameters, SuiteName


class ClassifyParameters(Parameters):
    """Classes and scores of curves."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="Evaluated under the suite")

"""What a token's page and its figures are asked for: one set of parameters."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.figures.prediction import Quantity, Shown
from app.requests.dependencies import MODEL_PATTERN
from app.requests.pages import SuiteText
from backend.corpora.views import Curve
from backend.errors import InvalidInputError

CONTEXT = 128  # tokens before the predicted one


def _names(value: object) -> object:
    """Names by commas, in one parameter or in several of the same name."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(name for part in parts for name in part.split(",") if name)


Names = Annotated[tuple[Annotated[str, Field(pattern=MODEL_PATTERN)], ...], BeforeValidator(_names)]


class PredictionQuery(BaseModel):
    """How one prediction is shown; `models` are those whose steps are drawn, by commas."""

    model_config = ConfigDict(extra="ignore")

    suite: SuiteText = None
    ctx: Annotated[int, Field(ge=1, le=4096)] = CONTEXT
    x: Literal["both", "size", "step"] = "both"
    y: Quantity = "nats"
    log: bool = False
    diff: bool = False
    fit: bool = False
    models: Names = ()

    def shown(self) -> Shown:
        """Return how curves are drawn."""
        return Shown(self.y, self.log, self.diff, self.fit)

    def changed(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters that are not the default, some of them changed."""
        said = self.model_copy(update=changes).model_dump(exclude_defaults=True)
        said |= {name: "1" for name in ("log", "diff", "fit") if said.get(name)}
        return said | ({"models": ",".join(said["models"])} if "models" in said else {})

    def select_curves(self, curves: tuple[Curve, ...]) -> list[Curve]:
        """Return the curves to draw.

        Raises:
            InvalidInputError: a model that has no curve over steps.
        """
        known = [curve.model for curve in curves if curve.axis == "S"]
        for name in self.models:
            if name not in known:
                raise InvalidInputError(
                    f"{name} has no curve over steps here",
                    f"Choose of {', '.join(str(one) for one in known) or 'none'}",
                    "models",
                )
        axes = {"both": "NS", "size": "N", "step": "S"}[self.x]
        wanted = self.models or known
        return [
            curve
            for curve in curves
            if curve.axis in axes and (curve.axis == "N" or curve.model in wanted)
        ]

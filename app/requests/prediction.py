"""Query parameters of the page of a prediction and of its figures."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.figures.prediction import PredictionPlotOptions, Quantity
from app.requests.pages import SuiteText
from backend.corpora.views import Curve
from backend.errors import InvalidInputError
from backend.schemas.parameters import MODEL_PATTERN

CONTEXT = 128  # tokens before the predicted one


def _names(value: object) -> object:
    """Split names at commas, in one parameter or in several of the same name."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(name for part in parts for name in part.split(",") if name)


Names = Annotated[tuple[Annotated[str, Field(pattern=MODEL_PATTERN)], ...], BeforeValidator(_names)]


class PredictionQuery(BaseModel):
    """Plot options of one prediction; `models` are those to draw over steps, comma-separated."""

    model_config = ConfigDict(extra="ignore")

    suite: SuiteText = None
    ctx: Annotated[int, Field(ge=1, le=4096)] = CONTEXT
    x: Literal["both", "size", "step"] = "both"
    y: Quantity = "nats"
    log: bool = False
    diff: bool = False
    fit: bool = False
    models: Names = ()

    def plot_options(self) -> PredictionPlotOptions:
        """Return the options of the plots."""
        return PredictionPlotOptions(self.y, self.log, self.diff, self.fit)

    def changed(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters that differ from their defaults, after `changes`."""
        params = self.model_copy(update=changes).model_dump(exclude_defaults=True)
        params |= {name: "1" for name in ("log", "diff", "fit") if params.get(name)}
        return params | ({"models": ",".join(params["models"])} if "models" in params else {})

    def select_curves(self, curves: tuple[Curve, ...]) -> list[Curve]:
        """Return the curves to draw, out of those of the prediction.

        Raises:
            InvalidInputError: a model has no curve over steps.
        """
        step_models = [curve.model for curve in curves if curve.axis == "S"]
        for name in self.models:
            if name not in step_models:
                raise InvalidInputError(
                    f"{name} has no curve over steps here",
                    f"Choose from {', '.join(map(str, step_models)) or 'none'}",
                    "models",
                )
        axes = {"both": "NS", "size": "N", "step": "S"}[self.x]
        models = self.models or step_models
        return [
            curve
            for curve in curves
            if curve.axis in axes and (curve.axis == "N" or curve.model in models)
        ]

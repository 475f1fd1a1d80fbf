"""How a network of Omnigrok is trained (compute.grokking.omnigrok)."""

from dataclasses import dataclass

from compute.ensembles.settings import check_numbers


@dataclass(frozen=True)
class Setting:
    """How one network is trained.

    Attributes:
        alpha: factor of all initial parameters.
        on_sphere: keep the initial norm.
        batch_size: train rows of a step; 0 is all.
        seed: of the initial parameters and batches.
    """

    alpha: float = 1.0
    weight_decay: float = 0.0
    learning_rate: float = 1e-3
    on_sphere: bool = False
    batch_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        check_numbers(self)
        if not self.alpha > 0:
            raise ValueError("alpha is 0: a network of zeros learns nothing")

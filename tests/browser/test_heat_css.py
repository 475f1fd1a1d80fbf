"""The colours of heat: generated, and readable on every step."""

import pytest

from app.figures.heat import LEVELS, MIN_CONTRAST, contrast, heat_css, text_on, viridis
from app.web.paths import static_dir


def test_the_file_is_what_the_generator_writes() -> None:
    assert (static_dir() / "heat.css").read_text() == heat_css()


@pytest.mark.parametrize("level", range(LEVELS))
def test_text_stands_out_on_every_step(level: int) -> None:
    colour = viridis(level / (LEVELS - 1))
    assert contrast(colour, text_on(colour)) >= MIN_CONTRAST


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)

"""Bars of the command line: one display, however tasks are nested."""

from io import StringIO

import pytest
from rich.console import Console

from backend.commands.progress_bars import Bars


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_task_inside_another_is_drawn_below_it_and_goes_with_its_end(is_terminal: bool) -> None:
    written = StringIO()
    bars = Bars(Console(file=written, force_terminal=is_terminal, width=100))
    with bars.task("evaluate", 4, unit="predictions") as outer:
        for _ in range(2):
            with bars.task("fetch", 10, unit="MB") as inner:
                inner.advance(10)
                bars.say("the hub asks to wait")
            outer.advance(2)
    with bars.task("classify", 1, unit="chunks") as last:
        last.advance()
    text = written.getvalue()
    assert text.count("the hub asks to wait") == 2
    assert "4/4" in text
    assert "1/1" in text
    final = text[text.rindex("evaluate") :]
    assert "fetch" not in final


def test_a_task_that_fails_leaves_no_display_behind() -> None:
    bars = Bars(Console(file=StringIO(), force_terminal=True))

    def fail() -> None:
        with bars.task("outer", 1, unit="x"), bars.task("inner", 1, unit="x"):
            raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            fail()

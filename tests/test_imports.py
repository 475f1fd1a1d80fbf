"""The import graph has no circle, neither at load time, nor in functions, nor for type checking."""

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def assert_no_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("modules import each other: " + " -> ".join(reversed(error.args[1])))


def test_no_modules_import_each_other() -> None:
    graph = grimp.build_graph("app", "backend", "compute", cache_dir=None)
    assert {"app.main", "backend.cli", "compute.losses"} <= graph.modules
    assert_no_circle(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )


def test_a_circle_is_named() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"a -> b -> a|b -> a -> b"):
        assert_no_circle({"a": {"b"}, "b": {"a"}})

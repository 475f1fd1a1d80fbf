"""Every page's template uses exactly the variables of its context."""

from collections.abc import Iterator
from dataclasses import fields

import pytest
from jinja2 import Environment, meta, nodes
from starlette.requests import Request

import app.pages.routes  # noqa: F401 (defines the contexts)
from app.web.paths import templates_dir
from app.web.templating import PageContext, environment, request_variables


def page_contexts(parent: type[PageContext] = PageContext) -> Iterator[type[PageContext]]:
    for child in parent.__subclasses__():
        if hasattr(child, "template"):  # not a base of several pages
            yield child
        yield from page_contexts(child)


CONTEXTS = sorted(page_contexts(), key=lambda context: context.template)
REQUEST = Request(
    {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
)


def declared_variables(tree: nodes.Template) -> set[str]:
    """Names that the template itself imports, sets or defines as a macro."""
    names = {macro.name for macro in tree.find_all(nodes.Macro)}
    for statement in tree.find_all(nodes.FromImport):
        names |= {name if isinstance(name, str) else name[1] for name in statement.names}
    for assignment in tree.find_all((nodes.Assign, nodes.AssignBlock)):
        names |= {name.name for name in assignment.find_all(nodes.Name) if name.ctx == "store"}
    return names


def context_variables(jinja: Environment, template: str) -> set[str]:
    """Names that a template and the templates it refers to take from the context."""
    assert jinja.loader is not None
    tree = jinja.parse(jinja.loader.get_source(jinja, template)[0])
    names = meta.find_undeclared_variables(tree) - declared_variables(tree) - set(jinja.globals)
    for reference in meta.find_referenced_templates(tree):
        assert reference is not None, f"{template} computes the name of a template"
        names |= context_variables(jinja, reference)
    return names


def test_every_page_has_one_context() -> None:
    pages = {path.name for path in templates_dir().glob("*.html")} - {"base.html"}
    assert sorted(context.template for context in CONTEXTS) == sorted(pages)


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.__name__)
def test_a_template_uses_what_its_context_has(context: type[PageContext]) -> None:
    used = context_variables(environment(), context.template) - set(request_variables(REQUEST))
    assert used == {field.name for field in fields(context)}

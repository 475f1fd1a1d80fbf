"""`quanta token`: who may use the server."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from backend.access import tokens as access_tokens
from backend.access.tokens import Scope, TokenView
from backend.commands.common import Json, open_default_store, print_result

token_cli = typer.Typer(no_args_is_help=True, help="Tokens: who may use the server.")
Name = Annotated[str, typer.Argument(help="What you call it.")]


def _text(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _fields(token: TokenView) -> dict[str, Any]:
    return {
        name: _text(value) if isinstance(value, datetime) else value
        for name, value in asdict(token).items()
    }


@token_cli.command("create")
def create(
    name: Name,
    scope: Annotated[
        Scope, typer.Option(help="read; run: ask for jobs as well; admin: everything.")
    ],
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Ends after so many days; never if out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and show it, once: only its digest is stored."""
    made = access_tokens.create_token(open_default_store(), name, scope, expires)
    end = _text(made.view.expires_at)
    until = f"until {end}" if end else "until it is revoked"
    lines = (
        f"{made.text}\nThis token may {scope}, {until}. It is not shown again: keep it now.",
        "Send it as `Authorization: Bearer …`, or log in with it at /login.",
    )
    print_result(as_json, "\n".join(lines), token=made.text, **_fields(made.view))


@token_cli.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List tokens: scope, state, when they end and when they were last used."""
    found = [_fields(token) for token in access_tokens.list_tokens(open_default_store())]
    lines = [
        f"{t['name']}: {t['scope']}, {t['state']}, expires {t['expires_at'] or 'never'}, "
        f"last used {t['last_used_at'] or 'never'}"
        for t in found
    ]
    text = "\n".join(lines) or "no token yet: `quanta token create NAME --scope read|run|admin`"
    print_result(as_json, text, tokens=found)


@token_cli.command("revoke")
def revoke(name: Name, as_json: Json = False) -> None:
    """End a token at once, with every session that it opened."""
    ended = access_tokens.revoke_token(open_default_store(), name)
    print_result(as_json, f"token {name} is revoked", **_fields(ended))

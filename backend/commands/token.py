"""`quanta token`: access tokens of the server."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from backend.access import tokens as access_tokens
from backend.access.tokens import Scope, TokenView
from backend.commands.common import Json, open_default_store, print_result

token_cli = typer.Typer(no_args_is_help=True, help="Access tokens of the server.")
Name = Annotated[str, typer.Argument(help="Name of the token.")]


def _format(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _fields(token: TokenView) -> dict[str, Any]:
    return {
        name: _format(value) if isinstance(value, datetime) else value
        for name, value in asdict(token).items()
    }


@token_cli.command("create")
def create(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="read; run: also submit jobs; admin: everything.")],
    expires: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Expire after DAYS days (default: never).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a token and print it once; only its digest is stored."""
    token = access_tokens.create_token(open_default_store(), name, scope, expires)
    expires_at = _format(token.view.expires_at)
    until = f"until {expires_at}" if expires_at else "until it is revoked"
    lines = (
        f"{token.text}\nThis token has the scope {scope} {until}.",
        "Save it now; it is not shown again.",
        "Send it as `Authorization: Bearer …`, or log in with it at /login.",
    )
    print_result(as_json, "\n".join(lines), token=token.text, **_fields(token.view))


@token_cli.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List tokens with scope, state, expiry and last use."""
    tokens = [_fields(token) for token in access_tokens.list_tokens(open_default_store())]
    lines = [
        f"{t['name']}: {t['scope']}, {t['state']}, expires {t['expires_at'] or 'never'}, "
        f"last used {t['last_used_at'] or 'never'}"
        for t in tokens
    ]
    empty = "There are no tokens; run `quanta token create NAME --scope read|run|admin`"
    print_result(as_json, "\n".join(lines) or empty, tokens=tokens)


@token_cli.command("revoke")
def revoke(name: Name, as_json: Json = False) -> None:
    """Revoke a token and end its sessions."""
    revoked = access_tokens.revoke_token(open_default_store(), name)
    print_result(as_json, f"token {name} is revoked", **_fields(revoked))

"""`quanta serve`: the server, with one worker beside it."""

import os
import secrets
from typing import Annotated, Literal

import typer

from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.binding import check_bind, is_loopback
from backend.settings import Settings, settings
from backend.store.database import Store, open_store

# Open responses may finish for this long when the server stops.
GRACE_SECONDS = 3
# Most systems let a process open 1,024 files, of which the database takes some.
MAX_CONNECTIONS = 500
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::", "[::]"})  # noqa: S104 - named, not bound


def run_settings(has_own_token: bool) -> Settings:
    """Return the settings of this run, with a new admin token if `has_own_token`.

    The new token exists only in this process and its worker: the token and its sessions end with
    the run. QUANTA_TOKEN takes precedence if it is set.
    """
    if has_own_token and not settings().token:
        # The application reads its settings from the environment.
        os.environ["QUANTA_TOKEN"] = secrets.token_urlsafe(32)
        settings.cache_clear()
    return settings()


def open_checked_store(config: Settings) -> Store:
    """Open the store, and check that the server may bind its address.

    Raises:
        InvalidInputError: the address is reachable from other machines and there is no admin token.
    """
    if config.token or is_loopback(config.host):
        check_bind(config)
        return open_store(config)
    store = open_store(config)
    check_bind(config, has_admin_token=access_tokens.has_admin_token(store))
    return store


def address(config: Settings) -> str:
    """Return the URL of the server for a browser on this machine."""
    host = "127.0.0.1" if config.host in _ANY_ADDRESS else config.host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{config.port}"


def login_link(store: Store) -> str:
    """Return the message with a new login link.

    The secret is in the fragment (#), which browsers do not send: no server or proxy logs it.
    """
    secret = login_sessions.create_login_link(store)
    minutes = int(login_sessions.LINK_LIFE.total_seconds() // 60)
    link = f"{address(store.settings)}/login#{secret}"
    return f"Log in, once and within {minutes} minutes: {link}"


def serve(
    host: Annotated[str | None, typer.Option(help="QUANTA_HOST; 127.0.0.1 if left out.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="QUANTA_PORT.")] = None,
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Execute jobs beside the server.")
    ] = True,
    token: Annotated[
        Literal["auto"] | None,
        typer.Option(help="auto: protect this run with a fresh token, and print a login link."),
    ] = None,
) -> None:
    """Serve the dashboard and the API, with one worker that executes jobs."""
    import uvicorn

    from backend.jobs.local_worker import LocalWorker

    config = run_settings(has_own_token=token is not None)
    changes = {"host": host, "port": port}
    config = config.model_copy(update={k: v for k, v in changes.items() if v is not None})
    store = open_checked_store(config)
    typer.echo(f"Quanta Explorer on http://{config.host}:{config.port}", err=True)
    if token is not None:
        typer.echo(login_link(store), err=True)
    local = LocalWorker(config)
    if with_worker:
        local.start()
    try:
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=config.host,
            port=config.port,
            log_level="warning",
            server_header=False,
            # Bounds what waits: requests that arrive slowly, or not at all.
            http="app.web.connections:Connection",
            limit_concurrency=MAX_CONNECTIONS,
            ws="none",
            # Followers of jobs keep their connection open for minutes.
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    finally:
        if with_worker:
            local.stop()

"""Preparation of `quanta serve`: the admin token of the run, the store, the login link."""

import os
import secrets

from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.binding import check_bind, is_loopback
from backend.settings import Settings, settings
from backend.store.database import Store, open_store

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

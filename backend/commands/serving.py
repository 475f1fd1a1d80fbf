"""What `quanta serve` settles before it serves: the run's token, the store, the login link."""

import os
import secrets

from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.binding import check_bind, is_loopback
from backend.settings import Settings, settings
from backend.store.database import Store, open_store

_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::", "[::]"})  # noqa: S104 - named, not bound


def run_settings(has_own_token: bool) -> Settings:
    """Return the settings of this run, with a fresh admin token if it is to have its own.

    A fresh token lives in this process and in its worker only: it and every session that it
    opened end with the run, however that ends. A QUANTA_TOKEN that is set is kept.
    """
    if has_own_token and not settings().token:
        # The application reads its own settings: the environment is what both see.
        os.environ["QUANTA_TOKEN"] = secrets.token_urlsafe(32)
        settings.cache_clear()
    return settings()


def checked_store(config: Settings) -> Store:
    """Return the opened store of a server that may bind its address.

    Raises:
        InvalidInputError: others can reach the address and there is no admin token.
    """
    if config.token or is_loopback(config.host):
        check_bind(config)
        return open_store(config)
    store = open_store(config)
    check_bind(config, has_admin_token=access_tokens.has_admin_token(store))
    return store


def address(config: Settings) -> str:
    """Return where a browser on this machine finds the server."""
    host = "127.0.0.1" if config.host in _EVERY_ADDRESS else config.host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{config.port}"


def login_link(store: Store) -> str:
    """Return the line with a fresh login link.

    The secret stands after #, which browsers keep to themselves: no server or proxy logs it.
    """
    secret = login_sessions.create_login_link(store)
    minutes = int(login_sessions.LINK_LIFE.total_seconds() // 60)
    link = f"{address(store.settings)}/login#{secret}"
    return f"Log in, once and within {minutes} minutes: {link}"

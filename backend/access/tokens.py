"""Access tokens: create, list, revoke and authenticate."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from backend.access import credentials
from backend.errors import InvalidInputError, NotFoundError
from backend.schemas import names
from backend.store.database import Store
from backend.store.tables import AccessToken, LoginSession
from backend.store.tables.base import now, utc

Scope = Literal["read", "run", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
State = Literal["live", "expired", "revoked"]
MAX_DAYS = 3650
LAST_USE_INTERVAL = timedelta(minutes=1)
SETTINGS_NAME = "QUANTA_TOKEN"


def covers(scope: Scope, needed: Scope) -> bool:
    """Return whether a scope includes another: admin includes run, run includes read."""
    return SCOPES.index(scope) >= SCOPES.index(needed)


@dataclass(frozen=True)
class Holder:
    """Token behind a credential; `token_id` is None for QUANTA_TOKEN."""

    name: str
    scope: Scope
    token_id: int | None = None
    expires_at: datetime | None = None


ADMIN_OF_SETTINGS = Holder(SETTINGS_NAME, "admin")


@dataclass(frozen=True)
class TokenView:
    """A stored token without its secret."""

    name: str
    scope: Scope
    state: State
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class NewToken:
    """A new token; `text` is not stored and cannot be shown again."""

    view: TokenView
    text: str


def _state(row: AccessToken) -> State:
    if row.revoked_at is not None:
        return "revoked"
    is_expired = row.expires_at is not None and utc(row.expires_at) <= now()
    return "expired" if is_expired else "live"


def _scope(row: AccessToken) -> Scope:
    scope = next((known for known in SCOPES if known == row.scope), None)
    assert scope is not None, f"scope {row.scope!r} of token {row.name!r} is none of {SCOPES}"
    return scope


def _view(row: AccessToken) -> TokenView:
    times = (row.expires_at, row.last_used_at)
    expires_at, last_used_at = (time and utc(time) for time in times)
    return TokenView(
        row.name, _scope(row), _state(row), utc(row.created_at), expires_at, last_used_at
    )


def active_holder(row: AccessToken | None) -> Holder | None:
    """Return the holder of a stored token, None if it is missing, revoked or expired."""
    if row is None or _state(row) != "live":
        return None
    return Holder(row.name, _scope(row), row.id, row.expires_at and utc(row.expires_at))


def create_token(store: Store, name: str, scope: Scope, days: float | None = None) -> NewToken:
    """Create a token that expires after `days` (None: never).

    The name of a revoked or expired token may be reused.

    Raises:
        InvalidInputError: the name is taken or not valid, or `days` is out of range.
    """
    names.check(name, "token")
    if name == SETTINGS_NAME:
        raise InvalidInputError(f"{name} is reserved", "Choose another name", "name")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InvalidInputError(
            f"days is {days:g}", f"Give more than 0 and at most {MAX_DAYS}", "days"
        )
    credential = credentials.new_credential(credentials.TOKEN_PREFIX)
    row = AccessToken(
        name=name,
        selector=credential.selector,
        digest=credentials.digest(credential.text.encode()),
        scope=scope,
        created_at=now(),
        expires_at=None if days is None else now() + timedelta(days=days),
    )
    try:
        with store.begin() as session:
            previous = session.scalar(select(AccessToken).where(AccessToken.name == name))
            if previous is not None and _state(previous) != "live":
                session.delete(previous)
                session.flush()
            session.add(row)
    except IntegrityError as error:
        raise InvalidInputError(
            f"a token {name!r} already exists",
            f"Choose another name, or `quanta token revoke {name}` first",
            "name",
        ) from error
    return NewToken(_view(row), credential.text)


def list_tokens(store: Store) -> list[TokenView]:
    """Return all tokens by name, including revoked and expired ones."""
    with store.session() as session:
        return [_view(row) for row in session.scalars(select(AccessToken).order_by("name"))]


def revoke_token(store: Store, name: str) -> TokenView:
    """Revoke a token and end its sessions; revoking twice changes nothing.

    Raises:
        NotFoundError: there is no token of this name.
    """
    with store.begin() as session:
        row = session.scalar(select(AccessToken).where(AccessToken.name == name))
        if row is None:
            raise NotFoundError(
                f"there is no token {name!r}", "`quanta token list` shows all tokens"
            )
        row.revoked_at = row.revoked_at or now()
        session.execute(delete(LoginSession).where(LoginSession.token_id == row.id))
        session.flush()
        return _view(row)


def has_admin_token(store: Store) -> bool:
    """Return whether there is an active admin token."""
    return any(t.scope == "admin" and t.state == "live" for t in list_tokens(store))


# Built once: compiling the statement takes longer than running it.
_ADMINS = (
    select(AccessToken.id)
    .where(AccessToken.scope == "admin", AccessToken.revoked_at.is_(None))
    .limit(1)
)


def is_protected(store: Store) -> bool:
    """Return whether the server requires tokens.

    An expired admin token counts, so that the server does not become open when a token expires.
    Revoking the last one opens it.
    """
    if store.settings.token:
        return True
    # Runs for every page: an ORM session would take as long as the query.
    with store.engine.connect() as connection:
        return connection.scalar(_ADMINS) is not None


def authenticate(store: Store, secret: bytes) -> Holder | None:
    """Return the holder of a token, None if it is not valid."""
    if credentials.is_expected_secret(secret, store.settings.token):
        return ADMIN_OF_SETTINGS
    selector = credentials.parse_selector(secret, credentials.TOKEN_PREFIX)
    if selector is None:
        return None
    with store.session() as session:
        row = session.scalar(select(AccessToken).where(AccessToken.selector == selector))
    computed = credentials.digest(secret)
    if not credentials.is_same_digest(computed, row.digest if row else None):
        return None
    holder = active_holder(row)
    if holder is not None and row is not None:
        _record_use(store, row)
    return holder


def _record_use(store: Store, row: AccessToken) -> None:
    threshold = now() - LAST_USE_INTERVAL
    if row.last_used_at is not None and utc(row.last_used_at) > threshold:
        return
    statement = (
        update(AccessToken)
        .where(AccessToken.id == row.id)
        .where(or_(AccessToken.last_used_at.is_(None), AccessToken.last_used_at <= threshold))
        .values(last_used_at=now())
    )
    is_sqlite = store.engine.dialect.name == "sqlite"
    # Do not wait for another writer: the time of the last use is not important.
    with store.engine.connect() as connection:
        timeout = connection.scalar(text("PRAGMA busy_timeout")) if is_sqlite else None
        try:
            if is_sqlite:
                connection.execute(text("PRAGMA busy_timeout=0"))
            connection.execute(statement)
            connection.commit()
        except OperationalError:
            connection.rollback()
        finally:
            if is_sqlite:
                connection.execute(text(f"PRAGMA busy_timeout={int(timeout or 0)}"))

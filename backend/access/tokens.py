"""Access tokens: making, listing, revoking and recognizing them."""

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
USE_IS_NOTED_EVERY = timedelta(minutes=1)
SETTINGS_NAME = "QUANTA_TOKEN"


def covers(held: Scope, needed: Scope) -> bool:
    """Return whether a scope allows what another one does: admin covers run, run covers read."""
    return SCOPES.index(held) >= SCOPES.index(needed)


@dataclass(frozen=True)
class Holder:
    """Who holds a credential: the name and scope of the token, its id unless it is QUANTA_TOKEN."""

    name: str
    scope: Scope
    token_id: int | None = None
    expires_at: datetime | None = None


ADMIN_OF_SETTINGS = Holder(SETTINGS_NAME, "admin")


@dataclass(frozen=True)
class TokenView:
    """A stored token as lists show it; nothing of its secret."""

    name: str
    scope: Scope
    state: State
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class NewToken:
    """A token that was just made; `text` is not stored and cannot be shown again."""

    view: TokenView
    text: str


def _state(row: AccessToken) -> State:
    if row.revoked_at is not None:
        return "revoked"
    is_over = row.expires_at is not None and utc(row.expires_at) <= now()
    return "expired" if is_over else "live"


def _scope(row: AccessToken) -> Scope:
    found = next((scope for scope in SCOPES if scope == row.scope), None)
    assert found is not None, f"scope {row.scope!r} of token {row.name!r} is none of {SCOPES}"
    return found


def _view(row: AccessToken) -> TokenView:
    times = (row.expires_at, row.last_used_at)
    expires_at, last_used_at = (time and utc(time) for time in times)
    return TokenView(
        row.name, _scope(row), _state(row), utc(row.created_at), expires_at, last_used_at
    )


def active_holder(row: AccessToken | None) -> Holder | None:
    """Return who holds a stored token, None if it is revoked, expired or not there."""
    if row is None or _state(row) != "live":
        return None
    return Holder(row.name, _scope(row), row.id, row.expires_at and utc(row.expires_at))


def create_token(store: Store, name: str, scope: Scope, days: float | None = None) -> NewToken:
    """Make a token; the name of a revoked or expired one may be used again.

    Args:
        store: where its digest is kept.
        name: what people call it.
        scope: what it allows.
        days: after how many days it expires, never if left out.

    Raises:
        InvalidInputError: the name is taken or cannot be one, or `days` is out of range.
    """
    names.check(name, "token")
    if name == SETTINGS_NAME:
        raise InvalidInputError(f"{name} is the token of the settings", "Choose another", "name")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InvalidInputError(f"{days:g} days", f"Give more than 0, at most {MAX_DAYS}", "days")
    made = credentials.new_credential(credentials.TOKEN_PREFIX)
    row = AccessToken(
        name=name,
        selector=made.selector,
        digest=credentials.digest(made.text.encode()),
        scope=scope,
        created_at=now(),
        expires_at=None if days is None else now() + timedelta(days=days),
    )
    try:
        with store.begin() as session:
            old = session.scalar(select(AccessToken).where(AccessToken.name == name))
            if old is not None and _state(old) != "live":
                session.delete(old)
                session.flush()
            session.add(row)
    except IntegrityError as error:
        raise InvalidInputError(
            f"there is a token {name!r} already",
            f"Choose another name, or `quanta token revoke {name}` first",
            "name",
        ) from error
    return NewToken(_view(row), made.text)


def list_tokens(store: Store) -> list[TokenView]:
    """Return all tokens by name, revoked and expired ones too."""
    with store.session() as session:
        return [_view(row) for row in session.scalars(select(AccessToken).order_by("name"))]


def revoke_token(store: Store, name: str) -> TokenView:
    """End a token and the sessions that it opened; revoking twice changes nothing.

    Raises:
        NotFoundError: there is no token of this name.
    """
    with store.begin() as session:
        row = session.scalar(select(AccessToken).where(AccessToken.name == name))
        if row is None:
            raise NotFoundError(f"there is no token {name!r}", "`quanta token list` shows all")
        row.revoked_at = row.revoked_at or now()
        session.execute(delete(LoginSession).where(LoginSession.token_id == row.id))
        session.flush()
        return _view(row)


def has_admin_token(store: Store) -> bool:
    """Return whether a stored token can administer the server now."""
    return any(t.scope == "admin" and t.state == "live" for t in list_tokens(store))


# Put together once.
_ADMINS = (
    select(AccessToken.id)
    .where(AccessToken.scope == "admin", AccessToken.revoked_at.is_(None))
    .limit(1)
)


def is_protected(store: Store) -> bool:
    """Return whether tokens are in use here, so that what is not allowed must be refused.

    An expired admin token counts: a server must not fall open when a date passes. It does after
    `quanta token revoke`, which somebody decides.
    """
    if store.settings.token:
        return True
    # Asked at every page: without a session of the mapper, which takes as long as the question.
    with store.engine.connect() as connection:
        return connection.scalar(_ADMINS) is not None


def authenticate(store: Store, sent: bytes) -> Holder | None:
    """Return who holds a token that was sent, None if it opens nothing."""
    if credentials.is_expected_secret(sent, store.settings.token):
        return ADMIN_OF_SETTINGS
    selector = credentials.parse_selector(sent, credentials.TOKEN_PREFIX)
    if selector is None:
        return None
    with store.session() as session:
        row = session.scalar(select(AccessToken).where(AccessToken.selector == selector))
    found = credentials.digest(sent)
    if not credentials.is_same_digest(found, row.digest if row else None):
        return None
    holder = active_holder(row)
    if holder is not None and row is not None:
        _note_use(store, row)
    return holder


def _note_use(store: Store, row: AccessToken) -> None:
    noted_before = now() - USE_IS_NOTED_EVERY
    if row.last_used_at is not None and utc(row.last_used_at) > noted_before:
        return
    used = (
        update(AccessToken)
        .where(AccessToken.id == row.id)
        .where(or_(AccessToken.last_used_at.is_(None), AccessToken.last_used_at <= noted_before))
        .values(last_used_at=now())
    )
    is_sqlite = store.engine.dialect.name == "sqlite"
    # A note is not worth waiting for: while another process writes, it is left out.
    with store.engine.connect() as connection:
        timeout = connection.scalar(text("PRAGMA busy_timeout")) if is_sqlite else None
        try:
            if is_sqlite:
                connection.execute(text("PRAGMA busy_timeout=0"))
            connection.execute(used)
            connection.commit()
        except OperationalError:
            connection.rollback()
        finally:
            if is_sqlite:
                connection.execute(text(f"PRAGMA busy_timeout={int(timeout or 0)}"))

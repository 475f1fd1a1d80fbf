"""Login sessions and one-time login links.

The store holds only an HMAC of the cookie's or link's secret under its token. The database does not
reveal valid cookies, and the sessions of a token end with the token.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.access import credentials
from backend.access.tokens import ADMIN_OF_SETTINGS, Holder, active_holder
from backend.errors import InvalidInputError
from backend.store.database import Store
from backend.store.tables import AccessToken, LoginSession
from backend.store.tables.base import now, utc

SESSION_LIFE = timedelta(days=7)
LINK_LIFE = timedelta(minutes=10)


def _hmac_key(store: Store, token: AccessToken | None) -> bytes | None:
    """Return the HMAC key of a token's sessions; None if there is no token to match."""
    if token is not None:
        return token.digest.encode()
    return store.settings.token.encode() or None


def _insert(
    store: Store, session: Session, holder: Holder, prefix: str, expires_at: datetime
) -> str:
    token = session.get_one(AccessToken, holder.token_id) if holder.token_id else None
    key = _hmac_key(store, token)
    assert key is not None, "a holder has a token"
    credential = credentials.new_credential(prefix)
    row = LoginSession(
        selector=credential.selector,
        digest=credentials.bound_digest(credential.text.encode(), key),
        token_id=holder.token_id,
        is_link=prefix == credentials.LINK_PREFIX,
        expires_at=min(expires_at, holder.expires_at or expires_at),
    )
    session.add(row)
    return credential.text


def create_session(store: Store, holder: Holder) -> str:
    """Start a session for a token's holder; return the cookie's secret.

    The secret is always new, so that a planted cookie (session fixation) is never used.
    """
    with store.begin() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires_at <= now()))
        return _insert(store, session, holder, credentials.SESSION_PREFIX, now() + SESSION_LIFE)


def _find_session(
    store: Store, session: Session, secret: bytes, prefix: str
) -> tuple[LoginSession, Holder] | None:
    selector = credentials.parse_selector(secret, prefix)
    if selector is None:
        return None
    row = session.scalar(
        select(LoginSession).where(
            LoginSession.selector == selector,
            LoginSession.is_link.is_(prefix == credentials.LINK_PREFIX),
        )
    )
    token = session.get(AccessToken, row.token_id) if row and row.token_id else None
    key = _hmac_key(store, token)
    computed = credentials.bound_digest(secret, key or b"none")
    stored = row.digest if row and key else None
    if (
        not credentials.is_same_digest(computed, stored)
        or row is None
        or utc(row.expires_at) <= now()
    ):
        return None
    holder = active_holder(token) if row.token_id else ADMIN_OF_SETTINGS
    return None if holder is None else (row, holder)


def authenticate_session(store: Store, secret: bytes) -> Holder | None:
    """Return the holder of a cookie's session, None if it is invalid or has expired."""
    with store.session() as session:
        match = _find_session(store, session, secret, credentials.SESSION_PREFIX)
    return match[1] if match else None


def delete_session(store: Store, secret: bytes) -> None:
    """End the session of a cookie; an unknown cookie is ignored."""
    with store.begin() as session:
        match = _find_session(store, session, secret, credentials.SESSION_PREFIX)
        if match:
            session.delete(match[0])


def create_login_link(store: Store) -> str:
    """Return the secret of a one-time login link for QUANTA_TOKEN.

    Raises:
        InvalidInputError: QUANTA_TOKEN is not set.
    """
    if not store.settings.token:
        raise InvalidInputError("QUANTA_TOKEN is not set", "Set it to use login links", "token")
    with store.begin() as session:
        return _insert(
            store, session, ADMIN_OF_SETTINGS, credentials.LINK_PREFIX, now() + LINK_LIFE
        )


def redeem_login_link(store: Store, secret: bytes) -> Holder | None:
    """Use a one-time link and return its holder; None if it is unknown, expired or used."""
    with store.begin() as session:
        match = _find_session(store, session, secret, credentials.LINK_PREFIX)
        if match is None:
            return None
        # Of two concurrent requests only one deletes the row.
        statement = delete(LoginSession).where(LoginSession.id == match[0].id)
        connection = session.connection()
        return match[1] if connection.execute(statement).rowcount == 1 else None


def csrf_token(cookie: bytes) -> str:
    """Return the CSRF token of a session's forms, derived from its cookie by an HMAC."""
    return credentials.bound_digest(b"csrf", cookie)


def is_valid_csrf_token(token: str, cookie: bytes) -> bool:
    """Compare a form's CSRF token with its session's in constant time."""
    return credentials.is_same_digest(token, csrf_token(cookie))

"""Login sessions and one-time login links: a cookie's or a link's secret for a token.

The store keeps only an HMAC of the secret under the token that it stands for. Nobody who reads
the database can make a cookie from it, and what a token opened ends with it.
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


def _binding(store: Store, token: AccessToken | None) -> bytes | None:
    """Return the key of a token's sessions; None: no key, so that nothing can match."""
    if token is not None:
        return token.digest.encode()
    return store.settings.token.encode() or None


def _insert(
    store: Store, session: Session, holder: Holder, prefix: str, expires_at: datetime
) -> str:
    token = session.get_one(AccessToken, holder.token_id) if holder.token_id else None
    key = _binding(store, token)
    assert key is not None, "a holder has a token"
    made = credentials.new_credential(prefix)
    row = LoginSession(
        selector=made.selector,
        digest=credentials.bound_digest(made.text.encode(), key),
        token_id=holder.token_id,
        is_link=prefix == credentials.LINK_PREFIX,
        expires_at=min(expires_at, holder.expires_at or expires_at),
    )
    session.add(row)
    return made.text


def create_session(store: Store, holder: Holder) -> str:
    """Start a session for a token's holder; return what the cookie carries.

    The value is always new: one that a browser brought along, perhaps planted, is never taken.
    """
    with store.begin() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires_at <= now()))
        return _insert(store, session, holder, credentials.SESSION_PREFIX, now() + SESSION_LIFE)


def _found(
    store: Store, session: Session, sent: bytes, prefix: str
) -> tuple[LoginSession, Holder] | None:
    selector = credentials.parse_selector(sent, prefix)
    if selector is None:
        return None
    row = session.scalar(
        select(LoginSession).where(
            LoginSession.selector == selector,
            LoginSession.is_link.is_(prefix == credentials.LINK_PREFIX),
        )
    )
    token = session.get(AccessToken, row.token_id) if row and row.token_id else None
    key = _binding(store, token)
    found = credentials.bound_digest(sent, key or b"none")
    stored = row.digest if row and key else None
    if not credentials.is_same_digest(found, stored) or row is None or utc(row.expires_at) <= now():
        return None
    holder = active_holder(token) if row.token_id else ADMIN_OF_SETTINGS
    return None if holder is None else (row, holder)


def authenticate_session(store: Store, sent: bytes) -> Holder | None:
    """Return whose session a cookie is, None if it is none, has expired or its token ended."""
    with store.session() as session:
        found = _found(store, session, sent, credentials.SESSION_PREFIX)
    return found[1] if found else None


def delete_session(store: Store, sent: bytes) -> None:
    """End the session of a cookie; one that is unknown is no fault."""
    with store.begin() as session:
        found = _found(store, session, sent, credentials.SESSION_PREFIX)
        if found:
            session.delete(found[0])


def create_login_link(store: Store) -> str:
    """Return the secret of a link that logs in once, as the holder of QUANTA_TOKEN.

    Raises:
        InvalidInputError: there is no QUANTA_TOKEN.
    """
    if not store.settings.token:
        raise InvalidInputError("there is no QUANTA_TOKEN to log in with", "Set it", "token")
    with store.begin() as session:
        return _insert(
            store, session, ADMIN_OF_SETTINGS, credentials.LINK_PREFIX, now() + LINK_LIFE
        )


def redeem_login_link(store: Store, sent: bytes) -> Holder | None:
    """Use up a one-time link; None if it is unknown, has expired or was used."""
    with store.begin() as session:
        found = _found(store, session, sent, credentials.LINK_PREFIX)
        if found is None:
            return None
        # Of two at the same moment one deletes the row, and the other one deletes none.
        used = delete(LoginSession).where(LoginSession.id == found[0].id)
        connection = session.connection()
        return found[1] if connection.execute(used).rowcount == 1 else None


def csrf_token(sent: bytes) -> str:
    """Return what forms of a session must send back: made from the cookie, of no use as one."""
    return credentials.bound_digest(b"csrf", sent)


def is_valid_csrf_token(sent: str, cookie: bytes) -> bool:
    """Compare a form's token with its session's, in constant time."""
    return credentials.is_same_digest(sent, csrf_token(cookie))

"""Who may use the server: access tokens and login sessions, secrets only as digests."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.store.tables.base import Base, Created


class AccessToken(Base, Created):
    """A token that `quanta token create` made; it was shown once and is not stored.

    `selector` is its public part, by which it is found; `digest` is the SHA-256 of the whole.
    """

    __tablename__ = "access_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    selector: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    scope: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class LoginSession(Base, Created):
    """A browser that logged in, or a link (`is_link`) that will log one in once.

    `token_id` is the token it stands for, NULL for QUANTA_TOKEN. `digest` is an HMAC of the
    secret under that token, so that a session ends when the token does, or when QUANTA_TOKEN is
    changed, and a copy of the database does not help to guess QUANTA_TOKEN.
    """

    __tablename__ = "login_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    selector: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(
        ForeignKey("access_token.id", ondelete="CASCADE"), index=True
    )
    is_link: Mapped[bool]
    expires_at: Mapped[datetime]

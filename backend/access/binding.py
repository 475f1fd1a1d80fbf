"""Loopback addresses, and addresses that a server may bind without a token."""

from ipaddress import IPv6Address, ip_address

from backend.errors import InvalidInputError
from backend.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, reaches only this machine."""
    name = host.strip("[]").lower()
    if name in LOOPBACK_NAMES:
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    # A socket that takes both families reports 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def check_bind(settings: Settings, has_admin_token: bool = False) -> None:
    """Check that a host which other machines can reach needs QUANTA_TOKEN or an admin token.

    Raises:
        InvalidInputError: `settings.host` is not loopback and there is no admin token.
    """
    if settings.token or has_admin_token or is_loopback(settings.host):
        return
    raise InvalidInputError(
        f"QUANTA_HOST {settings.host!r} can be reached from other machines and there is no "
        "admin token",
        "Make one with `quanta token create NAME --scope admin`, or give `--token auto`, or set "
        "QUANTA_TOKEN to a long random string (python -c 'import secrets; "
        "print(secrets.token_urlsafe(32))'); and name the server's own host name in "
        "QUANTA_ALLOWED_HOSTS. Or bind 127.0.0.1",
        parameter="host",
    )

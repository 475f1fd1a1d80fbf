"""Which addresses a server may bind without a token."""

import pytest

from backend.access.binding import check_bind, is_loopback
from backend.errors import InvalidInputError
from backend.settings import Settings

LOOPBACK = ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1"]
ELSEWHERE = ["0.0.0.0", "::", "", "192.168.1.4", "::ffff:10.0.0.1", "lab.example", "localhost.evil"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_open(host: str) -> None:
    assert is_loopback(host)
    check_bind(Settings(host=host, token=""))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_any_other_address_needs_a_token_and_says_how(host: str) -> None:
    with pytest.raises(InvalidInputError, match="QUANTA_TOKEN"):
        check_bind(Settings(host=host, token=""))
    check_bind(Settings(host=host, token="t"))

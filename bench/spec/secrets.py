"""Passwords in addresses of databases and trackers: they are told to nobody."""

from __future__ import annotations

import re
from itertools import chain
from urllib.parse import unquote

_PASSWORD = re.compile(r"//[^/@:]*:([^/]*)@|[?&](?:password|sslpassword|token)=([^&]*)")
"""A password in an address."""
STARS = "***"
"""Stand in the place of a password."""


def passwords(address: str) -> tuple[str, ...]:
    """Return the passwords that an address holds, as it writes them and as they are."""
    written = list(filter(None, chain.from_iterable(_PASSWORD.findall(address))))
    both = dict.fromkeys([*written, *map(unquote, written)])
    return tuple(sorted(both, key=len, reverse=True))


def hidden(address: str) -> str:
    """Return an address without its passwords."""
    return redacted(address, address)


def redacted(text: str, address: str) -> str:
    """Return a text without the passwords of an address."""
    for password in passwords(address):
        text = text.replace(password, STARS)
    return text

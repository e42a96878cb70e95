from __future__ import annotations

import pytest

from bench.spec.secrets import hidden, passwords, redacted


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:s%40cret@host:5432/name",
        "http://user:s%40cret@127.0.0.1:5000",
        "https://user:s%40cret@host/path?x=1",
        "postgresql://host/name?user=u&password=s%40cret",
        "mysql://u:s%40cret@h:x/n?password=s%40cret",
    ],
)
def test_a_password_is_hidden_as_it_is_written_and_as_it_is(address: str) -> None:
    assert "cret" not in hidden(address)
    assert "***" in hidden(address)
    assert redacted("no entry for s@cret or s%40cret", address) == "no entry for *** or ***"


@pytest.mark.parametrize("address", ["sqlite:///tuning.db", "http://host:5000", "file:folder", ""])
def test_an_address_without_one_stays(address: str) -> None:
    assert passwords(address) == ()
    assert hidden(address) == address

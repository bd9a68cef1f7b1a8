"""The leak scan itself: what it must find, and what it must not take for a find."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from tests.support.leaks import forms, leaks

CANARY = 'Zoë "Canary" O\'Neil/7351'
JSON, JSON_ASCII = json.dumps(CANARY, ensure_ascii=False), json.dumps(CANARY)
RAW = CANARY.encode()

PLANTED = {
    "raw": RAW,
    "in capitals": RAW.upper(),
    "in a JSON document": b'{"name": ' + JSON.encode() + b"}",
    "in a JSON document of ASCII": b'{"name": ' + JSON_ASCII.encode() + b"}",
    "in a path": b"GET /a/" + quote(RAW).encode(),
    "in a query": b"?q=" + quote(RAW, safe="").encode(),
    "in a query, escaped in small letters": b"?q=" + quote(RAW, safe="").lower().encode(),
    "in a form": b"q=" + quote_plus(RAW).encode(),
    "as a JSON document in a query": b"?q=" + quote(JSON_ASCII, safe="").encode(),
    "in hex": RAW.hex().encode(),
    "in hex of capitals": RAW.hex().upper().encode(),
    "as a JSON document in hex, as a database shows bytes": b"\\x" + json.dumps({"n": CANARY}).encode().hex().encode(),
    "as a JSON document in base64": base64.b64encode(JSON.encode()),
    **{f"in base64 after {n} bytes": base64.b64encode(b"x" * n + RAW + b"y" * (5 - n)) for n in range(6)},
    **{f"in base64 of URLs after {n} bytes": base64.urlsafe_b64encode(b"~" * n + RAW) for n in range(3)},
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=list(PLANTED))
def test_a_planted_leak_is_found_in_each_form(text: bytes) -> None:
    found = leaks(["not-here-at-all", CANARY], {"clean": b"nothing", "log": b"before " + text + b" after"})
    assert found
    assert all(line.startswith("log: canary 1 as ") for line in found)
    assert CANARY not in "".join(found), "the report does not repeat what leaked"


def test_what_only_looks_like_it_is_no_leak() -> None:
    texts = {"log": b'Zo\xc3\xab Canary {"name": "Canary O\'Neil"} 7351 ' + base64.b64encode(b"something else")}
    assert leaks([CANARY], texts) == []


def test_a_canary_that_chance_could_write_is_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        forms("Zoe")

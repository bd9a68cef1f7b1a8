"""Signed, dated threshold files: the only module of the rules that reads files or uses cryptography.

A file is ``<directory>/<therapy>/<effective-date>.toml`` with a detached Ed25519 signature beside it (``.toml.sig``)
over the canonical bytes of its content, so a comment or a space may change and a number may not. Which date is "today"
comes in as ``as_of``. A file that is unsigned, altered, signed by an unknown key, or whose entries are not exactly what
the rules know is refused as a whole; the rules never run on part of one.
"""

import base64
import binascii
import datetime as dt
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from schemas.values import Quantity, ValueProblem
from services.therapies.evidence import _COMPARISONS, TAGS, Outcome, Rule, Threshold, Thresholds, canonical
from services.therapies.protocol import Keys

__all__ = ["DIRECTORY", "Refused", "as_of", "load", "load_all", "sign", "verify"]

DIRECTORY: Final = Path(__file__).with_suffix("")
"""Where the shipped files are."""

DEVELOPMENT_KEY: Final = "a7dc2b2c7e6e739de95fe391684182fdefe4d1a331eae7162b71b380a2b4ee98"
"""SHA-256 of the public development key. Its private half is in the repository, so what it signs proves nothing:
refused in production.
"""

_HEAD: Final = {"therapy", "effective", "approver"}
_TABLES: Final = {"value", "rule", "list"}
_VALUE: Final = {"value", "unit", "comparison", "source", "tag"}
_RULE: Final = {"outcome", "reason", "source", "tag"}
_RULE_OPTIONAL: Final = {"action", "question", "when"}
_LIST: Final = {"items", "source", "tag"}


class Refused(Exception):
    """A threshold file that must not be used. Says which file and every reason."""

    def __init__(self, path: Path, *reasons: str) -> None:
        super().__init__(f"{path.parent.name}/{path.name} is refused: " + "; ".join(reasons))
        self.path = path
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that may sign threshold files, by the name of its file."""

    name: str
    public: Ed25519PublicKey
    development: bool


def trusted_keys(directory: Path = DIRECTORY) -> tuple[TrustedKey, ...]:
    """The keys in ``<directory>/keys/*.pub.pem``."""
    found = []
    for path in sorted((directory / "keys").glob("*.pub.pem")):
        try:
            public = load_pem_public_key(path.read_bytes())
        except ValueError:
            raise Refused(path, "the public key cannot be read") from None
        if not isinstance(public, Ed25519PublicKey):
            raise Refused(path, "not an Ed25519 public key")
        fingerprint = hashlib.sha256(public.public_bytes_raw()).hexdigest()
        found.append(TrustedKey(path.name.removesuffix(".pub.pem"), public, fingerprint == DEVELOPMENT_KEY))
    return tuple(found)


def sign(path: Path, key: bytes) -> Path:
    """Write the detached signature of a threshold file, made with a PEM private key; gives the path of the signature.

    Raises:
        Refused: the file cannot be read as TOML, or the key is not an Ed25519 private key.
    """
    try:
        private = load_pem_private_key(key, password=None)
    except ValueError:
        raise Refused(path, "the signing key cannot be read") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise Refused(path, "the signing key is not an Ed25519 private key")
    signature = base64.b64encode(private.sign(canonical(_read(path)))).decode()
    out = path.with_name(path.name + ".sig")
    out.write_text(signature + "\n")
    return out


def verify(path: Path, keys: tuple[TrustedKey, ...], *, production: bool) -> TrustedKey:
    """The trusted key whose signature over ``path`` holds.

    Raises:
        Refused: no signature, one that no trusted key made over these bytes, or one by the development key in
            production.
    """
    signature_path = path.with_name(path.name + ".sig")
    if not signature_path.exists():
        raise Refused(path, "it is not signed")
    try:
        signature = base64.b64decode(signature_path.read_text().strip(), validate=True)
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(path, "its signature cannot be read") from None
    content = canonical(_read(path))
    for key in keys:
        try:
            key.public.verify(signature, content)
        except InvalidSignature:
            continue
        if production and key.development:
            raise Refused(path, "it is signed with the development key, which production does not accept")
        return key
    raise Refused(path, "its signature does not hold: it was altered after signing, or signed by an unknown key")


def load(path: Path, known: Keys, *, production: bool, keys: tuple[TrustedKey, ...] | None = None) -> Thresholds:
    """One verified revision.

    Args:
        path: ``.../<therapy>/<effective-date>.toml``.
        known: the keys the therapy's rules use.
        production: whether the development key is refused.
        keys: the trusted keys; by default those beside the file's therapy directory.

    Raises:
        Refused: with every reason.
    """
    trusted = trusted_keys(path.parent.parent) if keys is None else keys
    signer = verify(path, trusted, production=production)
    document = _read(path)
    reasons: list[str] = []
    if set(document) - _HEAD - _TABLES or _HEAD - set(document):
        reasons.append(f"its head must be exactly {sorted(_HEAD)}")
    elif (document["therapy"], str(document["effective"])) != (path.parent.name, path.stem):
        reasons.append("its therapy and effective date are not those of its path")
    values = _values(document.get("value", {}), known, reasons)
    rules = _rules(document.get("rule", {}), known, reasons)
    lists = _lists(document.get("list", {}), known, reasons)
    if reasons:
        raise Refused(path, *reasons)
    content = hashlib.sha256(canonical(document)).hexdigest()
    return Thresholds(
        document["therapy"],
        document["effective"],
        document["approver"],
        f"{document['therapy']}/{document['effective']}/{content[:12]}",
        signer.name,
        values,
        rules,
        lists,
    )


def load_all(therapy: str, known: Keys, *, production: bool, directory: Path = DIRECTORY) -> tuple[Thresholds, ...]:
    """Every revision of a therapy, oldest first, future ones included. One refused file refuses the therapy.

    Raises:
        Refused: a file is, or there is none.
    """
    paths = sorted((directory / therapy).glob("*.toml"))
    if not paths:
        raise Refused(directory / therapy / "*.toml", "there is no threshold file")
    keys = trusted_keys(directory)
    return tuple(load(path, known, production=production, keys=keys) for path in paths)


def as_of(revisions: tuple[Thresholds, ...], day: dt.date) -> Thresholds | None:
    """The revision in force on ``day``: the newest whose effective date has come; None before the first."""
    return max((r for r in revisions if r.effective <= day), key=lambda r: r.effective, default=None)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        canonical(document)  # a TOML float has no canonical form: numbers are text, so that they stay decimals
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(path, f"cannot be read: {error}") from None
    except TypeError as error:
        raise Refused(path, f"{error}; write numbers as text") from None
    return document


def _shape(kind: str, key: str, entry: object, required: set[str], optional: set[str], reasons: list[str]) -> bool:
    if not isinstance(entry, Mapping) or required - set(entry) or set(entry) - required - optional:
        reasons.append(f"{kind} {key!r} must have {sorted(required)}")
        return False
    if entry["tag"] not in TAGS or not entry["source"]:
        reasons.append(f"{kind} {key!r} needs a source and one of the tags {TAGS}")
        return False
    return True


def _values(table: Mapping[str, Any], known: Keys, reasons: list[str]) -> dict[str, Threshold]:
    found: dict[str, Threshold] = {}
    reasons += [f"value {key!r} is missing" for key in known.values if not key.endswith("*") and key not in table]
    families = {key[:-1]: unit for key, unit in known.values.items() if key.endswith(".*")}
    for key, entry in table.items():
        unit = known.values.get(key) or next((u for family, u in families.items() if key.startswith(family)), None)
        if unit is None:
            reasons.append(f"value {key!r} is not known")
        elif _shape("value", key, entry, _VALUE, set(), reasons):
            if entry["unit"] != unit:
                reasons.append(f"value {key!r} must be in {unit}")
            elif entry["comparison"] not in (*_COMPARISONS, "="):
                reasons.append(f"value {key!r} has an unknown comparison")
            else:
                try:
                    quantity = Quantity.parse(f"{entry['value']} {unit}", key)
                except ValueProblem as problem:
                    reasons.append(str(problem))
                else:
                    found[key] = Threshold(key, quantity, entry["comparison"], entry["source"], entry["tag"])
    return found


def _rules(table: Mapping[str, Any], known: Keys, reasons: list[str]) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    reasons += [f"rule {key!r} is missing" for key in sorted(known.rules) if key not in table]
    for key, entry in table.items():
        if not _shape("rule", key, entry, _RULE, _RULE_OPTIONAL, reasons):
            continue
        question = entry.get("question", "")
        if key not in known.rules and question not in known.questions:
            reasons.append(f"rule {key!r} is not known and asks about no fact that is")
        elif entry["outcome"] not in {outcome.value for outcome in Outcome}:
            reasons.append(f"rule {key!r} has an unknown outcome")
        else:
            found[key] = Rule(id=key, **{**entry, "outcome": Outcome(entry["outcome"])})
    return found


def _lists(table: Mapping[str, Any], known: Keys, reasons: list[str]) -> dict[str, tuple[str, ...]]:
    reasons += [f"list {key!r} is missing" for key in sorted(known.lists) if key not in table]
    found: dict[str, tuple[str, ...]] = {}
    for key, entry in table.items():
        if key not in known.lists:
            reasons.append(f"list {key!r} is not known")
        elif _shape("list", key, entry, _LIST, set(), reasons):
            found[key] = tuple(entry["items"])
    return found

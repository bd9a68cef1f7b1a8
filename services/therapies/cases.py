"""From a JSON document to the dataclass of a case: strict, and with every bad field named at once.

Nothing is coerced: a number with a unit is text with its unit (``"82.0 kg"``), a time has its offset, true is not 1.
    Only
a field that the dataclass declares as possibly unknown (``X | None``) may be left out or null, and then it is unknown,
never a default.
"""

import dataclasses
import datetime as dt
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from schemas.values import Moment, Quantity, ValueProblem
from services.therapies.evidence import Problem, Rejected

__all__ = ["read_case"]


def read_case(kind: type[Any], document: object) -> Any | Rejected:
    """An instance of the case dataclass ``kind``, or every problem of ``document`` with its path."""
    problems: list[Problem] = []
    value = _read(kind, document, "", problems)
    return Rejected(tuple(problems)) if problems else value


def _bad(problems: list[Problem], path: str, message: str, code: str = "invalid") -> None:
    problems.append(Problem(code, path, message))


def _read(kind: Any, raw: object, path: str, problems: list[Problem]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if raw is None:
            return None
        (only,) = (a for a in arguments if a is not type(None))
        return _read(only, raw, path, problems)
    if origin in (tuple, frozenset):
        return _read_many(origin, arguments, raw, path, problems)
    if origin is not None and issubclass(origin, Mapping):
        return _read_mapping(arguments, raw, path, problems)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in (Quantity, Moment):
        return _read_dataclass(kind, raw, path, problems)
    return _read_scalar(kind, raw, path, problems)


def _read_many(origin: Any, arguments: tuple[Any, ...], raw: object, path: str, problems: list[Problem]) -> Any:
    if not isinstance(raw, list):
        return _bad(problems, path, "must be a list")
    return origin([_read(arguments[0], item, f"{path}[{i}]", problems) for i, item in enumerate(raw)])


def _read_mapping(arguments: tuple[Any, ...], raw: object, path: str, problems: list[Problem]) -> Any:
    if not isinstance(raw, Mapping):
        return _bad(problems, path, "must be an object")
    return {
        _read(arguments[0], key, f"{path}.{key}", problems): _read(arguments[1], item, f"{path}.{key}", problems)
        for key, item in raw.items()
    }


def _read_dataclass(kind: type[Any], raw: object, path: str, problems: list[Problem]) -> Any:
    if not isinstance(raw, Mapping):
        return _bad(problems, path, "must be an object")
    before = len(problems)
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    dot = f"{path}." if path else ""
    for name in raw:
        if name not in fields:
            _bad(problems, f"{dot}{name}", "is not a field of this case", "unknown-field")
    given: dict[str, Any] = {}
    for name, spec in fields.items():
        optional = type(None) in typing.get_args(hints[name])
        has_default = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
        if name in raw:
            given[name] = _read(hints[name], raw[name], f"{dot}{name}", problems)
        elif optional:
            given[name] = None
        elif not has_default:
            _bad(problems, f"{dot}{name}", "is required", "missing")
    if len(problems) > before:
        return None
    try:
        return kind(**given)
    except ValueProblem as problem:
        return _bad(problems, f"{dot}{problem.field}".rstrip("."), problem.reason)


def _read_scalar(kind: Any, raw: object, path: str, problems: list[Problem]) -> Any:
    try:
        return _scalar(kind, raw)
    except ValueProblem as problem:
        return _bad(problems, path, problem.reason)


def _scalar(kind: Any, raw: object) -> Any:
    if kind is bool or kind is int:
        if type(raw) is not kind:
            raise ValueProblem("must be true or false" if kind is bool else "must be a whole number")
        return raw
    if kind is Moment:
        if not isinstance(raw, Mapping) or set(raw) != {"at", "zone"}:
            raise ValueProblem("must be an object with at and zone")
        return Moment(_instant(raw["at"]), str(raw["zone"]))
    if not isinstance(raw, str):
        raise ValueProblem("has no unit" if kind is Quantity else "must be text")
    return _from_text(kind, raw)


def _from_text(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind is Quantity:
        return Quantity.parse(text)
    if kind is Decimal:
        return Quantity.parse(f"{text} 1").value
    if kind is dt.datetime:
        return _instant(text)
    try:
        if issubclass(kind, Enum):
            return kind(text)
        return kind.fromisoformat(text)  # date, time
    except ValueError:
        choices = " (one of " + ", ".join(m.value for m in kind) + ")" if issubclass(kind, Enum) else ""
        raise ValueProblem(f"is not a {kind.__name__}{choices}") from None


def _instant(text: object) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueProblem("is not a time") from None
    if at.tzinfo is None:
        raise ValueProblem("the time has no offset")
    return at.astimezone(dt.UTC)

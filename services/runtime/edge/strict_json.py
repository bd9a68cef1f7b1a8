"""Request bodies: JSON without any of its traps. Whatever would be lost, guessed or turned into null is refused by name.

The standard library's scanner finds what a schema cannot see (duplicate keys, NaN, digits without end, NUL, lone surrogates);
then pydantic validates the same bytes in its JSON mode. All bad fields are told at once.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from services.runtime.edge.problems import FieldProblem

__all__ = ["MAX_DEPTH", "Invalid", "Malformed", "problems_of", "read", "read_parameters"]

MAX_DEPTH = 32
_INT64 = 2**63
_LONGEST_INTEGER = 20
_LONGEST_NUMBER = 40
_BAD_CHARACTER = re.compile("[\0\ud800-\udfff]")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]


class Malformed(ValueError):
    """Not one JSON document in UTF-8; ``code`` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Invalid(ValueError):
    """A JSON document, but not what this route takes; every bad field is named."""

    def __init__(self, errors: Sequence[FieldProblem]) -> None:
        super().__init__("invalid")
        self.errors = errors


def read(body: bytes, model: type[M]) -> M:
    """Parse and validate.

    Raises:
        Malformed: it cannot be read at all.
        Invalid: with every bad field.
    """
    tree, bad = _scan(body)
    if not bad:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise Invalid(problems_of(error, tree)) from None
    errors = [FieldProblem(pointer(path), code) for path, code in bad]
    try:
        model.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        # What stood at a bad place was taken out, so what the schema says of that place means nothing.
        places = [pointer(path) for path, _ in bad]
        errors += [problem for problem in problems_of(error, tree) if not _inside(problem.at, places)]
    raise Invalid(errors)


_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,18})\Z")


def read_parameters(given: Mapping[str, str], model: type[M]) -> M:
    """Validate parameters of a path or query as strictly as a body: ``1.0`` and ``1_0`` are no integers, ``yes`` no boolean.

    Raises:
        ValidationError: pydantic's.
    """
    document: dict[str, object] = {}
    for name, text in given.items():
        field = model.model_fields.get(name)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        document[name] = text
        if int in kinds and _WHOLE.match(text):
            document[name] = int(text)
        elif bool in kinds and text in ("true", "false"):
            document[name] = text == "true"
    return model.model_validate_json(json.dumps(document))


class _Bad:
    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code


class _Repeated(dict[str, Any]):
    """An object in which some keys come twice."""

    keys_twice: tuple[str, ...] = ()


def _scan(body: bytes) -> tuple[Any, list[tuple[Path, str]]]:
    if body.startswith(_MARKS):
        raise Malformed("byte-order-mark")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("not-utf-8") from None
    if "\0" in text:
        raise Malformed("not-utf-8")  # UTF-16 or UTF-32; a NUL may not stand in JSON unescaped
    suspicious = False

    def integer(digits: str) -> object:
        nonlocal suspicious
        if len(digits) > _LONGEST_INTEGER:
            suspicious = True
            return _Bad("too-many-digits")
        number = int(digits)
        if not -_INT64 <= number < _INT64:
            suspicious = True
            return _Bad("out-of-range")
        return number

    def fraction(digits: str) -> object:
        nonlocal suspicious
        if len(digits) > _LONGEST_NUMBER:
            suspicious = True
            return _Bad("too-many-digits")
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            suspicious = True
            return _Bad("out-of-range")
        return number

    def constant(_: str) -> object:
        nonlocal suspicious
        suspicious = True
        return _Bad("not-a-number")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal suspicious
        made = dict(found)
        if len(made) == len(found):
            return made
        suspicious = True
        seen: set[str] = set()
        marked = _Repeated(made)
        marked.keys_twice = tuple({key: None for key, _ in found if key in seen or seen.add(key)})  # type: ignore[func-returns-value]
        return marked

    decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_float=fraction, parse_int=integer, parse_constant=constant)
    try:
        tree = decoder.decode(text)
    except RecursionError:
        raise Malformed("too-deep") from None
    except ValueError:
        raise Malformed("not-json") from None
    # Only an escape can smuggle a NUL or half a surrogate pair in; only many brackets can be deep.
    if not suspicious and "\\u" not in text and text.count("[") + text.count("{") <= MAX_DEPTH:
        return tree, []
    if isinstance(tree, _Bad):
        return None, [((), tree.code)]
    return tree, _clean(tree)


def _clean(tree: Any) -> list[tuple[Path, str]]:
    """Take everything bad out of the tree; returns where it was and what it was."""
    bad: list[tuple[Path, str]] = []
    if isinstance(tree, str) and _BAD_CHARACTER.search(tree):
        bad.append(((), _character(tree)))
    waiting: list[tuple[Any, Path]] = [(tree, ())]
    while waiting:
        node, path = waiting.pop()
        if len(path) >= MAX_DEPTH and isinstance(node, dict | list):
            raise Malformed("too-deep")
        if isinstance(node, _Repeated):
            bad += [((*path, key), "repeated-key") for key in node.keys_twice if not _BAD_CHARACTER.search(key)]
        for key, value in _items(node):
            place: Path = (*path, key)
            if isinstance(key, str) and _BAD_CHARACTER.search(key):
                bad.append((path, _character(key)))
                del node[key]
            elif isinstance(value, _Bad):
                bad.append((place, value.code))
                node[key] = None
            elif isinstance(value, str):
                if _BAD_CHARACTER.search(value):
                    bad.append((place, _character(value)))
                    node[key] = ""
            elif isinstance(value, dict | list):
                waiting.append((value, place))
    return bad


def _items(node: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(node, dict):
        yield from list(node.items())
    elif isinstance(node, list):
        yield from enumerate(node)


def _character(text: str) -> str:
    return "nul-character" if "\0" in text else "lone-surrogate"


def _inside(at: str, places: Sequence[str]) -> bool:
    return any(at == place or at.startswith(place + "/") for place in places)


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown-field",
    "string_type": "not-a-string",
    "int_type": "not-an-integer",
    "int_from_float": "not-an-integer",
    "int_parsing": "not-an-integer",
    "int_parsing_size": "out-of-range",
    "bool_type": "not-a-boolean",
    "bool_parsing": "not-a-boolean",
    "float_type": "not-a-number",
    "list_type": "not-a-list",
    "tuple_type": "not-a-list",
    "dict_type": "not-an-object",
    "model_type": "not-an-object",
    "model_attributes_type": "not-an-object",
    "string_too_long": "too-long",
    "string_too_short": "too-short",
    "too_long": "too-long",
    "too_short": "too-short",
    "string_pattern_mismatch": "wrong-form",
    "greater_than": "out-of-range",
    "greater_than_equal": "out-of-range",
    "less_than": "out-of-range",
    "less_than_equal": "out-of-range",
    "enum": "not-allowed",
    "literal_error": "not-allowed",
}
"""Our stable codes for pydantic's, which may change with its versions; codes of our own types pass as they are."""


def problems_of(error: ValidationError, tree: Any, place: str = "pointer") -> list[FieldProblem]:
    """Every problem with its place in the body (or its parameter) and our code for it."""
    found = []
    for problem in error.errors(include_url=False, include_input=False):
        kind = problem["type"]
        code = _CODES.get(kind, kind.replace("_", "-"))
        # What a model's own check blames is named from that model on, wherever it stands in the body.
        at = pointer(_in_tree(problem["loc"], tree)) + str((problem.get("ctx") or {}).get("pointer", ""))
        found.append(FieldProblem(at if place == "pointer" else at.removeprefix("/"), code, place))
    return found


def _in_tree(steps: Sequence[str | int], tree: Any) -> list[str | int]:
    """Steps that lead through the document; pydantic also names branches of a union."""
    path: list[str | int] = []
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(tree, Mapping) and (step in tree or last):
            path.append(step)
            tree = tree.get(str(step))
        elif isinstance(tree, list) and isinstance(step, int) and (step < len(tree) or last):
            path.append(step)
            tree = tree[step] if step < len(tree) else None
    return path

"""docs/settings.md lists every variable that our code reads, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli import settings_table

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\bTELEMED_[A-Z0-9_]*[A-Z0-9]\b")
# Read by the tests and the Makefile alone.
_OF_TESTS = re.compile(r"TELEMED_FAULT_[A-Z_]+")


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "services").rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def settings_classes(tree: ast.Module) -> Iterator[str]:
    """Names of the classes that say ``env_prefix="TELEMED..."``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            words = [word for part in node.body for word in ast.walk(part) if isinstance(word, ast.keyword)]
            for word in words:
                if word.arg == "env_prefix" and isinstance(word.value, ast.Constant):
                    yield node.name


def literals(tree: ast.Module) -> Iterator[str]:
    """Whole strings that are a variable's name, docstrings and sentences left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _VARIABLE.fullmatch(node.value):
            yield node.value


def test_the_page_is_what_the_settings_classes_say() -> None:
    written = settings_table.DOCUMENT.read_text(encoding="utf-8")
    assert written == settings_table.reference(), "run: python -m services.cli.settings_table"


def test_every_settings_class_of_ours_is_in_the_table() -> None:
    classes = {name for _, tree in modules() for name in settings_classes(tree)}
    assert classes == {section.__name__ for section in settings_table.SECTIONS.values()}


def test_every_setting_says_what_it_means_and_appears_once() -> None:
    found = [setting for section in settings_table.SECTIONS.values() for setting in settings_table.settings(section)]
    assert [setting.variable for setting in found if not setting.meaning] == []
    assert len({setting.variable for setting in found}) == len(found) > 40


def test_every_variable_that_code_names_is_in_the_table() -> None:
    unknown = {f"{path.name}: {name}" for path, tree in modules() for name in literals(tree) if name in stranger([name])}
    assert unknown == set()
    assert stranger(["TELEMED_KAFAK_BOOTSTRAP"]) == ["TELEMED_KAFAK_BOOTSTRAP"]


def test_every_variable_that_a_document_names_is_in_the_table() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "docker-compose.yml", ROOT / "Makefile"]
    assert len(pages) > 5
    named = {f"{page.name}: {name}" for page in pages for name in stranger(_VARIABLE.findall(page.read_text("utf-8")))}
    assert named == set()


def test_every_variable_of_the_table_is_on_the_page_and_every_one_on_the_page_is_in_the_table() -> None:
    shown = set(re.findall(r"^\| `(TELEMED_[A-Z_]+)`", settings_table.DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    known = settings_table.known()
    assert shown <= known
    assert {name for name in known if not name.endswith("_FILE")} <= shown


@pytest.mark.parametrize("secret", ["TELEMED_DATABASE_PASSWORD", "TELEMED_KAFKA_PASSWORD", "TELEMED_SMTP_PASSWORD"])
def test_passwords_are_secrets(secret: str) -> None:
    found = [s for section in settings_table.SECTIONS.values() for s in settings_table.settings(section) if s.secret]
    assert secret in {setting.variable for setting in found}


def stranger(names: list[str]) -> list[str]:
    """Those that nothing reads; the beginning of a group of names (``TELEMED_STACK``) is not a variable."""
    known = settings_table.known()
    return [
        name
        for name in names
        if name not in known and not _OF_TESTS.fullmatch(name) and not any(k.startswith(name + "_") for k in known)
    ]

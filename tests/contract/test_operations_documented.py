"""The runbook knows every page that the kernel raises, every metric, every command; the map of the kernel knows every file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.metrics_core import Metric

from services.cli.catalogue import load_services
from services.cli.main import cli
from services.runtime.messaging.ladders import PAGE_KIND
from services.runtime.metrics import Metrics

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
KERNEL = (ROOT / "docs" / "kernel.md").read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """The codes that open the rows of the tables."""
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def page_codes() -> set[str]:
    """Every ``runtime.*`` literal of the kernel that is no kind of timer."""
    found = set()
    for path in (ROOT / "services" / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"runtime\.[a-z-]+", node.value):
                found.add(node.value)
    return found - {PAGE_KIND}


def metrics() -> Iterator[Metric]:
    yield from Metrics().registry.collect()


def command_names(group: click.Group, prefix: str = "telemed") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from command_names(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def test_every_page_of_the_kernel_stands_in_the_runbook() -> None:
    codes = page_codes()
    assert {"runtime.gap", "runtime.fork"} <= codes
    assert codes == {name for name in first_cells(RUNBOOK) if name.startswith("runtime.")}


def test_every_page_of_the_services_stands_in_the_runbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMED_ENV", "local")  # the shipped figures are signed with the development key
    codes = {code for service in load_services() for code in service.ladders()}
    assert {"clinic.uncovered", "screening.risk-high"} <= codes
    assert codes <= first_cells(RUNBOOK)


def test_every_metric_stands_in_the_runbook() -> None:
    names = {metric.name for metric in metrics()}
    assert "telemed_outbox_pending" in names
    assert names == {name for name in first_cells(RUNBOOK) if name.startswith("telemed_")}


def test_every_command_stands_in_the_runbook_and_every_one_there_exists() -> None:
    there = set(command_names(cli))
    assert {name for name in there if f"`{name}" not in RUNBOOK} == set()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for said in re.findall(r"`(telemed [a-z]+(?: [a-z]+)?)", page.read_text(encoding="utf-8")):
            assert any(said in (name, " ".join(name.split()[:2])) or said.startswith(name + " ") for name in there), (
                page,
                said,
            )


def test_the_map_of_the_kernel_names_every_file_and_only_tests_that_exist() -> None:
    folder = ROOT / "services" / "runtime" / "messaging"
    lacking = [path.name for path in folder.glob("*.py") if path.name != "__init__.py" and f"`{path.name}`" not in KERNEL]
    assert lacking == []
    tests = re.findall(r"`((?:unit|contract|integration|faults|e2e)/test_\w+\.py)`", KERNEL)
    assert len(tests) > 10
    assert [test for test in tests if not (ROOT / "tests" / test).exists()] == []


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_decision_record_has_its_four_parts_on_one_page() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert len(set(numbers)) == len(numbers) >= 20
    for path, number in zip(records, numbers, strict=True):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. "), path.name
        for part in ("Context", "Decision", "Consequences", "Alternatives"):
            assert f"**{part}.**" in text, (path.name, part)
        assert len(text.splitlines()) <= 60, path.name

"""Nothing reaches a log or a label that is not on a list: neither by our own calls, nor by a library, nor by a crash."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.runtime.log import ALLOWED
from services.runtime.metrics import Metrics
from tests.support.leaks import leaks

ROOT = Path(__file__).parents[2]
CANARY = "zoe-canary-7351"
LABELS = {"outcome", "budget", "consumer", "topic", "partition", "reason", "kind", "pid"}
"""Of metrics: each has few values, and none comes from a client."""


def said_by(code: str) -> tuple[list[dict[str, str]], bytes]:
    """What a process that logs as services do writes, parsed and raw."""
    begin = f"import logging, threading\nfrom services.runtime import log\nlog.configure('ledger')\ncanary = {CANARY!r}\n"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, cwd=ROOT, check=False)
    assert done.stdout == b""
    return [json.loads(line) for line in done.stderr.splitlines()], done.stderr


@pytest.mark.parametrize(
    ("code", "event", "error_class"),
    [
        ("log.get_logger().info('done', patient=canary, count=1)", "done", None),
        ("log.get_logger().bind(patient=canary).error('done', exc_info=ValueError(canary))", "done", None),
        ("logging.getLogger('aiohttp.server').error('bad: %r', canary)", "library", ""),
        ("try: int(canary)\nexcept ValueError: logging.getLogger('a').exception(canary)", "library", "ValueError"),
        ("raise ValueError(canary)", "crashed", "ValueError"),
        ("raise ExceptionGroup(canary, [KeyError(canary)])", "crashed", "KeyError"),
        ("try: int(canary)\nexcept ValueError as error: raise TypeError(canary) from error", "crashed", "TypeError"),
        ("threading.Thread(target=int, args=(canary,)).start()", "crashed", "ValueError"),
        ("class A:\n    def __del__(self): raise OSError(canary)\nA()", "crashed", "OSError"),
        ("import asyncio\nasync def f(): raise OSError(canary)\nasyncio.run(f())", "crashed", "OSError"),
    ],
)
def test_what_is_not_allowed_does_not_leave_the_process(code: str, event: str, error_class: str | None) -> None:
    lines, raw = said_by(code)
    assert [line["event"] for line in lines] == [event]
    assert lines[0].get("error_class") == error_class
    assert lines[0].keys() <= ALLOWED
    assert leaks([CANARY], {"stderr": raw}) == []


def test_a_crash_tells_where_it_was() -> None:
    lines, _ = said_by("from services.runtime.messaging.schedule import LocalRule, due_at\ndue_at(LocalRule(None, canary))")
    assert "schedule.py:" in lines[0]["where"]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the product."""
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_log_call_names_a_fixed_event_and_allowed_keys_only() -> None:
    found = dict(calls())
    assert len(found) > 20
    for place, call in found.items():
        assert len(call.args) == 1, place
        # A constant, or the code of a kind of problem, which is one.
        assert isinstance(call.args[0], ast.Constant) or ast.unparse(call.args[0]) == "kind.code", place
        assert {keyword.arg for keyword in call.keywords} <= ALLOWED, place


def test_no_metric_has_a_label_that_a_client_could_fill() -> None:
    names = {label for collector in Metrics().registry._collector_to_names for label in getattr(collector, "_labelnames", ())}
    assert names
    assert names <= LABELS

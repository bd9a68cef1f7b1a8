"""Change one thing in the safety rules at a time: the unit tests must go red. ``python -m tests.mutants_therapies``
prints survivors.

Mutations: a comparison swapped, ``and``/``or`` swapped, ``not`` dropped, a condition forced, 0/1/2 off by one, ``+``/``-``
swapped, ``min``/``max`` and ``any``/``all`` swapped. Each mutant runs in its own process on a copy of the tree, only the tests
of its module, and stops at the first failure. A survivor is either listed in ``EQUIVALENT`` with the reason why no
outcome changes, or a gap in the tests.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
RULES = Path("services")
TESTS = Path("tests/unit")
DOCUMENT = ROOT / "docs" / "mutants_therapies.md"
OUTCOMES = ("killed", "equivalent", "survived", "not run")
_HEAD = """# What the tests of the clinical rules notice

Written by `python -m tests.mutants_therapies --write`. One thing of the safety rules is changed at a time; the tests of its
module must go red. `equivalent` are changes that no outcome can show, each with its reason in `tests/mutants_therapies.py`;
`not run` did not fit into the given time.

| module | run on | mutants | killed | equivalent | survived | not run |
|---|---|---|---|---|---|---|
"""

# module -> (functions, or every one when empty; tests that guard it)
TARGETS: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "therapies/ketamine/gates.py": (set(), ("therapies/test_ketamine_gates.py",)),
    "therapies/ketamine/alerts.py": (set(), ("therapies/test_ketamine_alerts.py", "therapies/test_recordings.py")),
    "therapies/ketamine/dosing.py": (set(), ("therapies/test_ketamine_dose.py",)),
    "therapies/ketamine/discharge.py": (set(), ("therapies/test_ketamine_discharge.py",)),
    "therapies/instruments.py": (
        {"_total", "_phq9_algorithm", "_suicide_item", "cssrs_screener", "cssrs_since_last", "_intensity", "_cssrs"},
        ("therapies/test_instruments.py",),
    ),
    "screening/domain.py": (set(), ("test_screening.py",)),
}
EQUIVALENT: dict[str, str] = {
    "state.log and _order(entry) < _order(state.log[-1]) or entry.recorded_at < state.clock  ->  True": (
        "folding anew gives the same state, only later"
    ),
    "entry.recorded_at < state.clock  ->  entry.recorded_at <= state.clock": "folding anew gives the same state, only later",
    "_order(entry) < _order(state.log[-1])  ->  _order(entry) <= _order(state.log[-1])": (
        "an equal entry is known and was let go before"
    ),
    "_order(entry) <= _order(state.log[-1])  ->  _order(entry) > _order(state.log[-1])": (
        "what it skips is only a look-up that would find nothing"
    ),
    "now <= state.clock  ->  now < state.clock": "no time passes, so nothing is silent for longer",
    "index < len(log)  ->  index <= len(log)": "a late entry always sorts before the last one",
    "current < r.at  ->  current <= r.at": "the sample behind it is of the same instant: the one with which the run began",
    "r.at > newest  ->  r.at >= newest": "the newest instant is set to what it is",
}
"""Changes that no outcome can show, with the reason."""

SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Each single change of one node."""
    if isinstance(node, ast.Compare):
        for swap in SWAPS.get(type(node.ops[0]), ()):
            changed = deepcopy(node)
            changed.ops[0] = swap()  # type: ignore[call-overload]
            yield changed
    elif isinstance(node, ast.BoolOp):
        changed_bool = deepcopy(node)
        changed_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield changed_bool
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        changed_op = deepcopy(node)
        changed_op.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield changed_op
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
        changed_call = deepcopy(node)
        changed_call.func = ast.Name(NAMES[node.func.id], ast.Load())
        yield changed_call
    elif isinstance(node, ast.Constant) and type(node.value) is int and node.value in (0, 1, 2):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.If):
        for forced in (True, False):
            changed_if = deepcopy(node)
            changed_if.test = ast.Constant(forced)
            yield changed_if


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, by: ast.AST) -> None:
        self.target, self.by = target, by

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self.by, node) if node is self.target else self.generic_visit(node)


def mutants(path: Path, functions: set[str]) -> Iterator[tuple[int, str, str]]:
    """(line, before -> after, source) of every mutant of a file."""
    tree = ast.parse(path.read_text())
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and (not functions or n.name in functions)]:
        for statement in function.body:
            for node in ast.walk(statement):
                for changed in variants(node):
                    before = ast.unparse(node.test if isinstance(node, ast.If) else node)
                    after = ast.unparse(changed.test if isinstance(changed, ast.If) else changed)
                    if before == after:
                        continue
                    copy = deepcopy(tree)
                    twin = _twin(tree, copy, node)
                    source = ast.unparse(ast.fix_missing_locations(_Replace(twin, changed).visit(copy)))
                    yield getattr(node, "lineno", 0), f"{before}  ->  {after}", source


def _twin(tree: ast.AST, copy: ast.AST, node: ast.AST) -> ast.AST:
    return next(b for a, b in zip(ast.walk(tree), ast.walk(copy), strict=True) if a is node)


@dataclass(frozen=True)
class Mutant:
    """One change of one module, ready to be written in its place."""

    module: str
    line: int
    change: str
    source: str


def main() -> int:
    """Run the mutants; exit 1 when one survives that is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="stop after this long; the rest is reported as not run")
    parser.add_argument("--sample", type=int, default=0, help="at most this many mutants a module, chosen by a fixed seed")
    parser.add_argument("--module", default="", help="only this module")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="mutants tried at once, each in its own tree")
    parser.add_argument("--write", action="store_true", help="write the result to docs/mutants_therapies.md")
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    todo = [mutant for module in TARGETS if options.module in {"", module} for mutant in _chosen(module, options.sample)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for worker in range(options.workers):
            trees.put(_tree(Path(folder) / str(worker), {test for mutant in todo for test in TARGETS[mutant.module][1]}))
        outcomes = list(pool.map(lambda mutant: _outcome(mutant, trees, end), todo))
    counts = Counter((mutant.module, outcome) for mutant, outcome in zip(todo, outcomes, strict=True))
    survivors = [f"- `{m.module}:{m.line}: {m.change}`" for m, o in zip(todo, outcomes, strict=True) if o == "survived"]
    today = date.today().isoformat()  # noqa: DTZ011 - the day on which it is run, where it is run
    table = {
        module: f"| `{module}` | {today} | {sum(row)} | " + " | ".join(map(str, row)) + " |"
        for module in dict.fromkeys(mutant.module for mutant in todo)
        for row in [[counts[module, outcome] for outcome in OUTCOMES]]
    }
    print(*table.values(), sep="\n")
    if options.write:
        DOCUMENT.write_text(_document(table, survivors), encoding="utf-8")
    return 1 if survivors else 0


def _chosen(module: str, sample: int) -> list[Mutant]:
    found = [Mutant(module, *one) for one in mutants(ROOT / RULES / module, TARGETS[module][0])]
    return random.Random(1).sample(found, sample) if 0 < sample < len(found) else found


def _tree(tree: Path, tests: set[str]) -> Path:
    """A copy of what the tests need, on which they are green; that run also leaves the bytecode of all that is not changed."""
    for part in ("services", "schemas", "tests", "examples"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    if not _green(tree, tuple(sorted(tests)), keep_bytecode=True):
        sys.exit("the tests are red without any change: nothing would be shown")
    return tree


def _outcome(mutant: Mutant, trees: "SimpleQueue[Path]", end: float) -> str:
    if mutant.change in EQUIVALENT:
        return "equivalent"
    if time.monotonic() > end:
        return "not run"
    tree = trees.get()
    try:
        path = tree / RULES / mutant.module
        original = path.read_text()
        path.write_text(mutant.source)
        outcome = "survived" if _green(tree, TARGETS[mutant.module][1]) else "killed"
        path.write_text(original)
    finally:
        trees.put(tree)
    print(f"{outcome:9} {mutant.module}:{mutant.line}: {mutant.change}", flush=True)
    return outcome


def _document(table: dict[str, str], survivors: list[str]) -> str:
    """With what stands there of modules that were not run this time."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines() if DOCUMENT.exists() else []
    rows, left = [], []
    for module in TARGETS:
        rows += [table[module]] if module in table else [line for line in lines if line.startswith(f"| `{module}`")]
        left += [line for line in (survivors if module in table else lines) if line.startswith(f"- `{module}:")]
    said = ["Survivors, each a gap in the tests or a change that nothing can show:", "", *left] if left else ["None survived."]
    return _HEAD + "\n".join([*rows, "", *said, ""])


def _green(tree: Path, tests: tuple[str, ...], *, keep_bytecode: bool = False) -> bool:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--noconftest",  # it is about servers
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--timeout=60",
    ]
    command += [str(TESTS / test) for test in tests]
    # A change may come within the second and with the size of the one before: its bytecode must not be kept.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "" if keep_bytecode else "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:  # it goes on for ever: noticed
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())

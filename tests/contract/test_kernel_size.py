"""The kernel stays small enough for one person to read in a day: 3,000 lines of code, docstrings and comments not counted.

The kernel is what runs in every service process to move events and to write state: ``messaging`` and the modules it stands on.
"""

import ast
import io
import tokenize
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "services" / "runtime"
LIMIT = 3000
# Beside it: the HTTP edge, which messaging must not import; the sealing of audit rows, which only reads what messaging wrote;
# the migration runner, a job of its own; the declarations of everybody's settings; and the wiring of all these in one process.
_BESIDE = {"audit", "edge", "migrations", "serve.py", "settings.py"}
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(text: str) -> int:
    """Lines that hold code. A statement over three lines is three, a docstring is none."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_what_counts_is_code() -> None:
    text = '''"""Module.

Two lines."""

# a comment
X = {
    "a": 1,
}


def f() -> None:
    """Says."""
    return  # and more


Y = """text
in two lines"""
'''
    assert code_lines(text) == 3 + 2 + 2


def test_the_kernel_is_at_most_3000_lines_of_code() -> None:
    sizes = {
        path.relative_to(RUNTIME).as_posix(): code_lines(path.read_text(encoding="utf-8"))
        for path in RUNTIME.rglob("*.py")
        if path.relative_to(RUNTIME).parts[0] not in _BESIDE
    }
    assert "messaging/relay.py" in sizes
    assert sum(sizes.values()) <= LIMIT, sorted(sizes.items(), key=lambda item: -item[1])

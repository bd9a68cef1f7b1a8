"""The LiveKit server of the local stack: found on this machine, or built once from its source; reached on loopback only."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from services.cli.stack.errors import StackError
from services.cli.stack.jars import Report
from services.cli.stack.ports import HOST

__all__ = ["API_KEY", "LIVEKIT_VERSION", "WEBHOOK", "build", "command", "configuration", "find"]

LIVEKIT_VERSION = "1.13.5"
"""Later ones have replace directives in their go.mod, which ``go install`` refuses."""
API_KEY = "telemed"
"""Names the secret of a stack; the secret is made for each."""
WEBHOOK = "/webhooks/livekit"
"""Where ``video_visits`` hears what the server says."""

_PROGRAM = "livekit-server"
_MODULE = f"github.com/livekit/{_PROGRAM}/cmd/server@v{LIVEKIT_VERSION}"


def find(cache: Path) -> Path | None:
    """The server that was built here, else one on the path; None when there is neither."""
    built = _built(cache)
    if built.exists():
        return built
    found = shutil.which(_PROGRAM)
    return Path(found) if found else None


def build(cache: Path, report: Report) -> Path:
    """Build the server with Go, once; Go's checksum database vouches for every module.

    Raises:
        StackError: there is no Go, it cannot build this, or the cache cannot be written.
    """
    built = _built(cache)
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise StackError(
            f"there is no go on the path to build LiveKit {LIVEKIT_VERSION} with: install Go 1.26 or newer, "
            f"or put a {_PROGRAM} on the path"
        )
    report(f"building LiveKit {LIVEKIT_VERSION} with Go: some minutes, once", None)
    try:
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent, prefix="build-") as work:
            env = {**os.environ, "GOBIN": work}
            done = subprocess.run([go, "install", _MODULE], env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
                raise StackError(f"LiveKit {LIVEKIT_VERSION} cannot be built: {last}")
            (Path(work) / "server").replace(built)
    except OSError as error:
        raise StackError(f"{error.filename or built} cannot be written: {error.strerror}") from None
    return built


def configuration(path: Path, *, port: int, udp_port: int, secret: str, webhook: str) -> Path:
    """Write what the server is told, readable by its owner only, since the secret stands in it.

    Args:
        path: of the file; JSON, which is YAML too.
        port: for signalling.
        udp_port: for media.
        secret: signs join tokens and webhooks.
        webhook: URL that is told who came and went.
    """
    told = {
        "port": port,
        "bind_addresses": [HOST],
        "rtc": {
            "node_ip": HOST,
            "tcp_port": 0,  # it would listen on every address, and on loopback UDP always passes
            "udp_port": udp_port,
            "use_external_ip": False,
            "enable_loopback_candidate": True,
            "interfaces": {"includes": ["lo", "lo0"]},
        },
        "keys": {API_KEY: secret},
        "webhook": {"api_key": API_KEY, "urls": [webhook]},
    }
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(told, file, indent=1)
    return path


def command(binary: Path, config: Path) -> list[str]:
    """How to start it."""
    return [str(binary), "--config", str(config)]


def _built(cache: Path) -> Path:
    return cache / "livekit" / LIVEKIT_VERSION / _PROGRAM

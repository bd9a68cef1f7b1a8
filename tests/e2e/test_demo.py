"""What a newcomer does with the stack: play the demo, twice, look at the pages, and paste what the README says."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from services.cli.catalogue import load_services
from services.cli.stack.ports import HOST, is_open
from services.cli.stack.settings import StackSettings
from tests.e2e.test_stack import fetch
from tests.support.world import ROOT

pytestmark = pytest.mark.xdist_group("demo")

_PARTS = ("postgres_port", "kafka_port", "kafka_controller_port", "smtp_port", "mail_port", "issuer_port")
_MORNING = ("demo", "--patients", "8", "--seed", "7")
"""Everything that may come of a patient, once each."""


@dataclass(frozen=True, slots=True)
class Running:
    """The whole stack, on ports of its own."""

    offset: int
    environment: Mapping[str, str]

    def telemed(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command, with lines as long as they are."""
        return self._run([sys.executable, "-m", "services.cli.main", *arguments])

    def bash(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script as somebody would who has pasted it."""
        return self._run(["bash", "-euo", "pipefail", "-c", script])

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=ROOT, env=dict(self.environment), capture_output=True, text=True, timeout=400, check=False
        )

    def moved(self, text: str) -> str:
        """A text whose ports are this stack's."""
        return re.sub(rf"(?<={re.escape(HOST)}:)\d+", lambda port: str(int(port[0]) + self.offset), text)


def _offset() -> int:
    usual = [StackSettings.model_fields[name].default for name in _PARTS] + [service.port for service in load_services()]
    while True:
        offset = 1000 + secrets.randbelow(19000)
        if not any(is_open(port + offset) for port in usual):
            return offset


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    offset = _offset()
    known = {name: value for name, value in os.environ.items() if not name.startswith("TELEMED_") or name == "TELEMED_CACHE"}
    home = tmp_path_factory.mktemp("demo") / "home"
    running = Running(offset, {**known, "TELEMED_HOME": str(home), "TELEMED_STACK_PORT_OFFSET": str(offset)})
    up = running.telemed("up", "--detach")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        yield running
    finally:
        running.telemed("down")


@pytest.mark.timeout(600)
def test_a_morning_is_played_and_played_again(stack: Running) -> None:
    first = stack.telemed(*_MORNING)
    assert first.returncode == 0, first.stdout[-4000:] + first.stderr
    said = (
        r"(\d+) steps by people, of (\d+) kinds, each of which was refused to a wrong token\n"
        r"(\d+) of (\d+) expected results hold"
    )
    steps, kinds, held, checks = map(int, _said(said, first.stdout))
    assert (held, steps > 400, kinds > 40, checks > 40) == (checks, True, True, True)
    # Each step and each event was shown as it came, refusals by their code.
    for shown in (
        r"nurse\.[ab] +session_logging: POST /sessions/\S+/start -> gate-shut",
        r"nurse\.[ab] +session_logging: POST /sessions/\S+/stop -> 200",
        r"event  session_logging\.alert-raised\.v1  \S+ #\d+  \d+ ms after its commit",
    ):
        _said(shown, first.stdout)
    # What it came to: events by type, effects by service, pages by code, mails, and where to look.
    summary = first.stdout[first.stdout.index("steps by people") :]
    assert int(_said(r"(\d+) events:", summary)[0]) > 200
    assert int(_said(r"(\d+)  session_logging\.infusion-started\.v1", summary)[0]) == 8
    for service in load_services():
        assert stack.moved(f"http://{HOST}:{service.port}/docs") in summary
        if service.subscriptions:
            _said(rf"{service.name} +\d+ applied   p50 <= \d+ ms   p99 <= \d+ ms", summary)
    # Of the one who is stopped, the value and the human's STOP are an alert each.
    pages = {"alert-stop": 2, "alert-stop-prescriber": 2, "alert-red": 1, "alert-red-prescriber": 1, "pause-unrecorded": 1}
    for code, count in {**pages, "left-without-discharge": 1}.items():
        assert _said(rf"(\d+)  session\.{code}$", summary) == (str(count),)
    outbox = _said(r"\d+ mails: (\S+)", summary)[0]
    assert fetch(outbox + "/")[0] == 200

    again = stack.telemed("demo", "--patients", "1", "--seed", "7", "--quiet")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "event  " not in again.stdout
    *_, held, checks = map(int, _said(said, again.stdout))
    assert held == checks


@pytest.mark.timeout(300)
def test_the_readme_works_as_pasted(stack: Running) -> None:
    section = (ROOT / "README.md").read_text().split("\n## By hand\n", 1)[1].split("\n## ", 1)[0]
    examples = list(_examples(stack.moved(re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[0])))
    assert len(examples) >= 8
    mark = secrets.token_hex(8)
    # The command of the tests, not one that happens to be in a folder.
    telemed = f'telemed() {{ "{sys.executable}" -m services.cli.main "$@"; }}'
    done = stack.bash("\n".join([telemed, *(f"{command}\necho; echo {mark}" for command, _ in examples)]))
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split(mark)[:-1]
    assert len(outputs) == len(examples)
    for (command, wanted), output in zip(examples, outputs, strict=True):
        if wanted:
            assert re.fullmatch(".*".join(map(re.escape, wanted.split("..."))), output.strip(), re.DOTALL), (command, output)


@pytest.mark.timeout(300)
def test_the_api_page_of_each_service_names_its_routes(stack: Running) -> None:
    for service in load_services():
        status, page = fetch(stack.moved(f"http://{HOST}:{service.port}/docs"))
        assert status == 200
        assert [one.name for one in service.routes if f"<h2>{one.method} {one.path_template}</h2>" not in page] == []


def _said(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"nothing like {pattern} in {text[-4000:]}"
    return found.groups()


def _examples(block: str) -> Iterator[tuple[str, str]]:
    """Commands of a block, each with what it answers: the line behind ``#>``, in which ``...`` is anything."""
    command: list[str] = []
    for line in block.splitlines():
        if line.startswith("#> ") or not line:
            yield "\n".join(command), line.removeprefix("#> ")
            command = []
        else:
            command.append(line)
    assert not command, "the last command of the block says what it answers"

"""`telemed up` with a LiveKit server: keys of this stack, calls that reach `video_visits`, and nothing left afterwards."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
import yaml

from services.cli.stack import livekit
from services.cli.stack.kafka import default_cache
from services.cli.stack.ports import HOST, free_ports, is_open
from services.cli.stack.process import Child
from services.cli.stack.settings import StackSettings
from tests.e2e.test_stack import Stack
from tests.support.waiting import eventually
from tests.video.support import participant

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300), pytest.mark.video]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "home")
    # Every port of this stack is its default one moved on, the service's too.
    offset = free_ports(1)[0] - 20_000
    for name in [name for name in stack.environment if name.startswith("TELEMED_STACK_")]:
        del stack.environment[name]
    stack.environment |= {"TELEMED_SERVICES": "services.video_visits", "TELEMED_STACK_PORT_OFFSET": str(offset)}
    stack.ports = {"LIVEKIT": StackSettings().livekit_port + offset}
    yield stack
    stack.end()


async def test_the_stack_starts_it_with_a_secret_of_its_own_and_hears_its_calls(stack: Stack) -> None:
    assert stack.call("up", "--detach").returncode == 0
    everything = stack.processes()
    assert {"livekit", "video_visits"} <= set(stack.pids())
    secret = (stack.home / "data" / "secrets" / "livekit.secret").read_text().strip()
    assert (stack.home / "data" / "livekit.json").stat().st_mode & 0o077 == 0
    seen = json.dumps(stack.record()) + "".join(path.read_text(errors="replace") for path in stack.home.rglob("*.log"))
    seen += "".join(" ".join(process.cmdline()) + json.dumps(process.environ()) for process in everything)
    assert secret not in seen

    now, room = int(time.time()), f"visit-{uuid4()}"
    video = {"roomJoin": True, "room": room, "canPublish": True, "canSubscribe": True}
    claims = {"iss": livekit.API_KEY, "sub": "patient", "nbf": now - 5, "exp": now + 60, "video": video}
    given = {"url": f"ws://{HOST}:{stack.ports['LIVEKIT']}", "token": jwt.encode(claims, secret, "HS256")}
    async with participant(given) as one:
        await one.happens("joined")

        async def heard() -> bool:
            log = (stack.home / "logs" / "livekit.log").read_text()
            return any("sent webhook" in line and '"statusCode": 200' in line and room in line for line in log.splitlines())

        await eventually(heard, what="video_visits has taken a call")
        await one.leave()
    down = stack.call("down")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    stack.assert_nothing_left(everything)


async def test_the_server_takes_the_configuration_of_the_compose_file(tmp_path: Path) -> None:
    port, tcp_port, udp_port = free_ports(3)
    told = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["livekit"]["environment"]["LIVEKIT_CONFIG"]
    keys = tmp_path / "livekit.keys"
    keys.write_text(f"telemed: '{'7' * 48}'\n")
    keys.chmod(0o600)
    for inside, here in (("7880", port), ("7881", tcp_port), ("7882", udp_port), ("/run/secrets/livekit.keys", keys)):
        assert inside in told
        told = told.replace(inside, str(here))
    binary = livekit.find(default_cache())
    assert binary is not None
    server = await Child.start([binary], log=tmp_path / "log", env={"PATH": "/usr/bin:/bin", "LIVEKIT_CONFIG": told})
    try:

        async def answers() -> bool:
            assert server.returncode is None, (tmp_path / "log").read_text()
            return is_open(port)

        await eventually(answers, what="the server answers")
    finally:
        await server.kill()

"""The generated OpenAPI document against the running service: schemathesis tries what it allows and what it forbids.

Its own process: it wants no event loop, no plugin and no warnings filter of ours.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.ledger.http import ROUTES
from tests.support.load import NO_BROKER
from tests.support.tokens import token
from tests.support.world import World

pytestmark = pytest.mark.asyncio

ROOT = Path(__file__).parents[2]
SEED = "20261127"
EXAMPLES = "60"
EXCLUDED = "positive_data_acceptance"
"""It cannot tell a rule from a schema; ``openapi_fuzz`` has one that can."""


async def test_the_service_is_what_its_document_says(world: World, tmp_path: Path) -> None:
    """No 5xx, no undeclared status, body or header, nothing forbidden that is taken, no authentication that can be left out."""
    ledger = await world.spawn(**NO_BROKER, LEDGER_ENQUIRIES_A_MINUTE="1000000")
    secret = token()
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{ledger.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {secret}", "--seed", SEED, "--max-examples", EXAMPLES),
        *("--checks", "all", "--exclude-checks", EXCLUDED, "--continue-on-failure", "--max-redirects", "0"),
        *("--request-timeout", "10", "--generation-database", "none", "--no-color"),
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.openapi_fuzz"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await asyncio.wait_for(process.communicate(), 110))[0].decode()
    assert process.returncode == 0, said[-6000:]
    assert f"Tested: {len(ROUTES)}\n" in said, said[-2000:]
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None
    assert int(generated[1]) > 800, said[-2000:]
    events = {json.loads(line)["event"] for line in ledger.log.read_text().splitlines()}
    assert not events & {"internal-error", "undeclared-rejection", "unexpected"}
    assert leaks.leaks([secret], leaks.logs(world)) == []

"""``python -m tests.support.mischief services.clinic``: a service that publishes late before early, and everything twice."""

import runpy
import sys
from collections.abc import Sequence

from services.runtime.database import Record
from services.runtime.messaging.relay import Relay

_submit = Relay._submit


async def _reversed_and_again(self: Relay, topic: str, lane: int, events: Sequence[Record], beat: bytes | None) -> bool:
    return await _submit(self, topic, lane, [*reversed(events), *events], beat)


if __name__ == "__main__":
    Relay._submit = _reversed_and_again  # type: ignore[method-assign]
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)

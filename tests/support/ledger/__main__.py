"""``python -m tests.support.ledger``. Asked by SIGUSR1, it writes down what its event loop has in hand."""

import asyncio
import os
import signal
from pathlib import Path

from services.runtime.serve import main
from tests.support.ledger.app import SERVICE


def _tell_tasks(_: int, __: object) -> None:
    path = Path(os.environ["LEDGER_TASKS"])
    made = path.with_suffix(".new")
    made.write_text("\n".join(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()), encoding="ascii")
    made.rename(path)


signal.signal(signal.SIGUSR1, _tell_tasks)
main(SERVICE)

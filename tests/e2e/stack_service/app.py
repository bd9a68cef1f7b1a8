"""Described like every other service, so that the stack migrates, starts and watches it."""

import os
from pathlib import Path

from services.runtime.service import Service

SERVICE = Service(
    # A stack with a service of the board's name lets that board's pages sign in at its issuer.
    name=os.environ.get("STACK_NOTE_NAME", "stack_note"),
    package="tests.e2e.stack_service",
    migrations=Path(__file__).with_name("migrations"),
    port=int(os.environ.get("STACK_NOTE_PORT", "7999")),
)

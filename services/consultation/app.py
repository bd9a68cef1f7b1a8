"""Wiring of the consultation: the only place that does it."""

import datetime as dt
from pathlib import Path

from services.consultation.commands.people import ENQUIRY_DUE, ENQUIRY_WAITS
from services.consultation.events import OWNER
from services.consultation.http import routes
from services.consultation.paging import on_call
from services.consultation.subscriptions import SUBSCRIPTIONS
from services.consultation.timers import EnquiryDue
from services.directory import LIBRARY as DIRECTORY
from services.directory.paging import GLASS
from services.runtime.edge.break_glass import BREAK_GLASS
from services.runtime.messaging.ladders import Ladder, Rung
from services.runtime.service import Service
from services.runtime.settings import Environment, ProcessSettings, SettingsError, load
from services.screening import APPEND_ONLY
from services.screening import LIBRARY as SCREENING
from services.screening.commands import TASK_DUE, Screening, ladders
from services.screening.timers import TaskDue
from services.therapies.rulebook import Rulebook
from services.therapies.thresholds import Refused

__all__ = ["SERVICE"]

_NEVER_CHANGED = (
    "identity_fact",
    "intake_version",
    "result",
    "pdmp_check",
    "examination",
    "topic_read",
    "evaluation",
    "decision",
)
_RULEBOOK = Rulebook(production=lambda: load(ProcessSettings).env is Environment.PRODUCTION)
_SCREENING = Screening(OWNER, _RULEBOOK)


def _ladders() -> dict[str, Ladder]:
    try:
        # Those of the revision in force when the process starts; another one needs a restart.
        signed = ladders(_RULEBOOK.on("cadence", dt.datetime.now(dt.UTC).date()))
    except Refused as refused:
        raise SettingsError(str(refused)) from None
    enquiry = Ladder((Rung(dt.timedelta(0), "front_desk"), Rung(dt.timedelta(hours=1), "admin")))
    return {**GLASS, ENQUIRY_WAITS: enquiry, **signed}


SERVICE = Service(
    name="consultation",
    package="services.consultation",
    migrations=Path(__file__).parent / "migrations",
    libraries={**DIRECTORY, **SCREENING},
    port=7002,
    append_only=(*APPEND_ONLY, *_NEVER_CHANGED),
    subscriptions=SUBSCRIPTIONS,
    timers={ENQUIRY_DUE: EnquiryDue(), TASK_DUE: TaskDue(_SCREENING)},
    ladders=_ladders,
    on_call=on_call,
    routes=(*routes(_RULEBOOK, _SCREENING), BREAK_GLASS),
)

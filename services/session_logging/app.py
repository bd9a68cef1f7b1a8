"""Wiring of the infusion room: the only place that does it."""

import datetime as dt
from pathlib import Path

from services.directory import LIBRARY as DIRECTORY
from services.directory.facts import Facts
from services.directory.paging import GLASS
from services.runtime.edge.break_glass import BREAK_GLASS
from services.runtime.messaging.ladders import Ladder
from services.runtime.service import Service
from services.runtime.settings import Environment, KafkaSettings, ProcessSettings, SettingsError, load
from services.screening import APPEND_ONLY
from services.screening import LIBRARY as SCREENING
from services.screening.commands import TASK_DUE, Screening
from services.screening.commands import ladders as screening_ladders
from services.screening.timers import TaskDue
from services.session_logging.commands.room import ALERT_DUE, RECORD_DUE, SHIFT_OVER, STOPPED, VITALS_DUE, WATCH, Room, ladders
from services.session_logging.commands.watch import Watch
from services.session_logging.events import OWNER
from services.session_logging.http import routes
from services.session_logging.paging import on_call
from services.session_logging.subscriptions import FACTS, subscriptions
from services.session_logging.timers import AlertDue, RecordDue, ShiftOver, Silence, Stopped, VitalsDue
from services.therapies.rulebook import Rulebook
from services.therapies.thresholds import Refused

__all__ = ["SERVICE"]

_RULEBOOK = Rulebook(production=lambda: load(ProcessSettings).env is Environment.PRODUCTION)
_SCREENING = Screening(OWNER, _RULEBOOK)
_ROOM = Room(_RULEBOOK, Facts(FACTS, lambda: load(KafkaSettings)))


def _ladders() -> dict[str, Ladder]:
    try:
        # Those of the revision in force when the process starts; another one needs a restart.
        signed = _RULEBOOK.on("cadence", dt.datetime.now(dt.UTC).date())
        return {**GLASS, **screening_ladders(signed), **ladders(signed)}
    except Refused as refused:
        raise SettingsError(str(refused)) from None


SERVICE = Service(
    name="session_logging",
    package="services.session_logging",
    migrations=Path(__file__).parent / "migrations",
    libraries={**DIRECTORY, **SCREENING},
    port=7005,
    append_only=(*APPEND_ONLY, "entry", "sample", "gate_evaluation", "move", "batch", "vitals_due"),
    subscriptions=subscriptions(_ROOM),
    timers={
        WATCH: Silence(Watch(_ROOM)),
        SHIFT_OVER: ShiftOver(Watch(_ROOM)),
        STOPPED: Stopped(Watch(_ROOM)),
        VITALS_DUE: VitalsDue(Watch(_ROOM)),
        RECORD_DUE: RecordDue(),
        ALERT_DUE: AlertDue(Watch(_ROOM)),
        TASK_DUE: TaskDue(_SCREENING),
    },
    ladders=_ladders,
    on_call=on_call,
    routes=(*routes(_ROOM, _SCREENING), BREAK_GLASS),
)

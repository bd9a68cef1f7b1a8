"""Wiring of follow-up: the only place that does it."""

import datetime as dt
from pathlib import Path

from services.directory import LIBRARY as DIRECTORY
from services.directory.paging import GLASS
from services.follow_up.commands.messages import MESSAGE, WEEKLY, Messages
from services.follow_up.commands.outcomes import Outcomes
from services.follow_up.commands.tasks import DAY_7, ladders
from services.follow_up.commands.tasks import TASK_DUE as CARE_TASK_DUE
from services.follow_up.events import OWNER
from services.follow_up.http import PAGE, routes
from services.follow_up.paging import on_call
from services.follow_up.subscriptions import Care, subscriptions
from services.follow_up.timers import DaySeven, SendMessage, TaskDue, Weekly
from services.runtime.edge.break_glass import BREAK_GLASS
from services.runtime.messaging.ladders import Ladder
from services.runtime.service import Service
from services.runtime.settings import Environment, ProcessSettings, SettingsError, load
from services.screening import APPEND_ONLY
from services.screening import LIBRARY as SCREENING
from services.screening.commands import TASK_DUE, Screening
from services.screening.commands import ladders as screening_ladders
from services.screening.timers import TaskDue as RiskTaskDue
from services.therapies.rulebook import Rulebook
from services.therapies.thresholds import Refused

__all__ = ["SERVICE"]

_RULEBOOK = Rulebook(production=lambda: load(ProcessSettings).env is Environment.PRODUCTION)
_SCREENING = Screening(OWNER, _RULEBOOK)
_MESSAGES = Messages(_RULEBOOK, _SCREENING)


def _ladders() -> dict[str, Ladder]:
    try:
        # Those of the revision in force when the process starts; another one needs a restart.
        signed = _RULEBOOK.on("cadence", dt.datetime.now(dt.UTC).date())
        return {**GLASS, **screening_ladders(signed), **ladders(signed)}
    except Refused as refused:
        raise SettingsError(str(refused)) from None


SERVICE = Service(
    name="follow_up",
    package="services.follow_up",
    migrations=Path(__file__).parent / "migrations",
    libraries={**DIRECTORY, **SCREENING},
    port=7004,
    append_only=(*APPEND_ONLY, "baseline"),
    subscriptions=subscriptions(Care(_MESSAGES, Outcomes(_RULEBOOK))),
    timers={
        MESSAGE: SendMessage(_MESSAGES),
        WEEKLY: Weekly(_MESSAGES),
        DAY_7: DaySeven(),
        CARE_TASK_DUE: TaskDue(),
        TASK_DUE: RiskTaskDue(_SCREENING),
    },
    ladders=_ladders,
    on_call=on_call,
    routes=(*routes(_MESSAGES, _SCREENING), BREAK_GLASS),
    pages=(PAGE,),
)

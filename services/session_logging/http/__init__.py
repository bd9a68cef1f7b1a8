"""Routes of the infusion room."""

from services.runtime.edge.route import Route
from services.screening import http as screening
from services.screening.commands import Screening
from services.session_logging.commands.aftercare import Aftercare
from services.session_logging.commands.amendment import Amendment
from services.session_logging.commands.arrival import Arrival
from services.session_logging.commands.infusion import Infusion
from services.session_logging.commands.ledger import DrugLedger
from services.session_logging.commands.paper import Paper
from services.session_logging.commands.record import Record
from services.session_logging.commands.room import Room
from services.session_logging.commands.watch import Watch
from services.session_logging.http import (
    aftercare,
    amendment,
    arrival,
    infusion,
    ledger,
    monitoring,
    paper,
    record,
    reports,
    sessions,
    watch,
)

__all__ = ["routes"]


def routes(room: Room, answers: Screening) -> tuple[Route, ...]:
    """All of them: sessions, arrival, infusion, watching, aftercare, and answers about suicide."""
    here, drug = Arrival(room), DrugLedger(room)
    after = Aftercare(here, drug)
    chart = Record(after)
    return (
        *sessions.ROUTES,
        *monitoring.routes(chart),
        *reports.routes(chart),
        *arrival.routes(here),
        *amendment.routes(Amendment(here)),
        *ledger.routes(drug),
        *infusion.routes(Infusion(here, drug)),
        *watch.routes(Watch(room)),
        *aftercare.routes(after),
        *record.routes(chart),
        *paper.routes(Paper(after)),
        *screening.routes(answers),
    )

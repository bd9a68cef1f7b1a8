"""Routes of the infusion room."""

from services.runtime.edge.route import Route
from services.screening import http as screening
from services.screening.commands import Screening
from services.session_logging.commands.aftercare import Aftercare
from services.session_logging.commands.arrival import Arrival
from services.session_logging.commands.infusion import Infusion
from services.session_logging.commands.room import Room
from services.session_logging.commands.watch import Watch
from services.session_logging.http import aftercare, arrival, infusion, sessions, watch

__all__ = ["routes"]


def routes(room: Room, answers: Screening) -> tuple[Route, ...]:
    """All of them: sessions, arrival, infusion, watching, aftercare, and answers about suicide."""
    here = Arrival(room)
    return (
        *sessions.ROUTES,
        *arrival.routes(here),
        *infusion.routes(Infusion(here)),
        *watch.routes(Watch(room)),
        *aftercare.routes(Aftercare(here)),
        *screening.routes(answers),
    )

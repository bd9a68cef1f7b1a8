"""Routes of follow-up."""

from services.follow_up.commands.messages import Messages
from services.follow_up.http import care, messages
from services.follow_up.http.page import PAGE
from services.runtime.edge.route import Route
from services.screening import http as screening
from services.screening.commands import Screening

__all__ = ["PAGE", "routes"]


def routes(sent: Messages, answers: Screening) -> tuple[Route, ...]:
    """All of them: contact book, messages and links, tasks, outcomes, journey, and answers about suicide."""
    return (*messages.routes(sent), *care.ROUTES, *screening.routes(answers))

"""Routes of the consultation."""

from services.consultation.commands.cases import Cases
from services.consultation.commands.decisions import Decisions
from services.consultation.http import cases, decisions, people
from services.runtime.edge.route import Route
from services.screening import http as screening
from services.screening.commands import Screening
from services.therapies.rulebook import Rulebook

__all__ = ["routes"]


def routes(rulebook: Rulebook, answers: Screening) -> tuple[Route, ...]:
    """All of them: people, cases, decisions, and answers about suicide."""
    return (
        *people.ROUTES,
        *cases.routes(Cases(rulebook)),
        *decisions.routes(Decisions(rulebook)),
        *screening.routes(answers),
    )

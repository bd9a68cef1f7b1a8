"""The public events of the product, one module per owner. Explicit, no discovery."""

from schemas.events import clinic, consultation, follow_up, session_logging, treatment_planning, video_visits
from schemas.events.shared import audit_sealed
from schemas.registry import DEAD_LETTERED, Registry

__all__ = ["EVENTS", "REGISTRY"]

_OWNERS = (
    "clinic",
    "consultation",
    "video_visits",
    "treatment_planning",
    "session_logging",
    "follow_up",
    "staff_dashboard",
)

EVENTS = (
    DEAD_LETTERED,
    *clinic.EVENTS,
    *consultation.EVENTS,
    *video_visits.EVENTS,
    *treatment_planning.EVENTS,
    *session_logging.EVENTS,
    *follow_up.EVENTS,
    *(audit_sealed(owner) for owner in _OWNERS),
)
REGISTRY = Registry(EVENTS)

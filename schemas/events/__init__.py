"""The public events of the product, one module per owner. Explicit, no discovery."""

from schemas.events import clinic, consultation, follow_up, session_logging, treatment_planning, video_visits
from schemas.registry import DEAD_LETTERED, Registry

__all__ = ["EVENTS", "REGISTRY"]

EVENTS = (
    DEAD_LETTERED,
    *clinic.EVENTS,
    *consultation.EVENTS,
    *video_visits.EVENTS,
    *treatment_planning.EVENTS,
    *session_logging.EVENTS,
    *follow_up.EVENTS,
)
REGISTRY = Registry(EVENTS)

"""The programmes this software knows: one line each. Adding one is a module, a threshold file and a line here."""

from collections.abc import Mapping
from typing import Final

from services.therapies import cadence, instruments, ketamine, regulatory, semaglutide, testosterone
from services.therapies.protocol import Keys, Therapy

__all__ = ["COMMON", "THERAPIES", "keys_of"]

THERAPIES: Final[dict[str, Therapy]] = {
    "ketamine": ketamine.THERAPY,
    "semaglutide": semaglutide.THERAPY,
    "testosterone": testosterone.THERAPY,
}

COMMON: Final[dict[str, Keys]] = {
    "instruments": instruments.KEYS,
    "regulatory": regulatory.KEYS,
    "cadence": cadence.KEYS,
}
"""Rule sets that belong to no single programme."""


def keys_of(name: str, therapies: Mapping[str, Therapy] = THERAPIES) -> Keys | None:
    """What the threshold files of a programme or common rule set must hold; None for a name that is not registered."""
    therapy = therapies.get(name)
    return therapy.keys if therapy else COMMON.get(name)

"""LiveKit's side: tokens that we mint, webhooks that it signs. Its words end here; the rest speaks of presence."""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import jwt
from pydantic import BaseModel, Field, ValidationError

from services.runtime.edge.policy import Signed
from services.runtime.edge.principal import Unauthenticated
from services.runtime.settings import load
from services.video_visits.domain import Role, Visit
from services.video_visits.settings import LiveKitSettings

__all__ = ["Call", "configured", "join_token", "read_call", "verify"]

TOKEN_S = 600
"""How long a join token may be used; real time, as the platform's clock is."""
_LEEWAY_S = 60
Identifier = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=200)]
"""An id that the platform gives, and that we keep."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a webhook says, in our words.

    Attributes:
        kind: ``joined``, ``left``, ``aborted`` (left, and was never connected), ``closed`` (the room), or empty for what we
            do not use.
        visit: whose room it is; None for a room that is not ours.
        room: its id; a room that is opened anew has the same name and another id.
        at: seconds since 1970, by the platform's clock.
        since: when the connection began, in the same seconds; None where it is not said.
    """

    id: str
    kind: str
    visit: UUID | None
    room: str
    connection: str
    role: Role | None
    at: int
    since: int | None = None


def configured() -> bool:
    """Whether there is a server; otherwise visits are held in person."""
    return bool(load(LiveKitSettings).url)


def join_token(visit: Visit, role: Role, now: float) -> tuple[str, str]:
    """Where to connect, and a token for one participant of one room: HS256, ten minutes."""
    settings = load(LiveKitSettings)
    assert settings.api_secret is not None  # noqa: S101 - the settings belong together
    claims = {
        "iss": settings.api_key,
        # Planted by us: roles are read from here, never from what somebody calls themself.
        "sub": role.value,
        "nbf": int(now) - 5,
        "exp": int(now) + TOKEN_S,
        "video": {"roomJoin": True, "room": visit.room, "canPublish": True, "canSubscribe": True, "canPublishData": False},
    }
    return settings.url, jwt.encode(claims, settings.api_secret.get_secret_value(), "HS256")


def verify(call: Signed) -> None:
    """Check a webhook over its raw bytes: a JWT of our key that carries their SHA-256, and has not expired.

    Raises:
        Unauthenticated: it is not one of our server's, or too old.
    """
    settings = load(LiveKitSettings)
    if settings.api_secret is None:
        raise Unauthenticated("signature-missing")
    token = call.headers.get("authorization", "")
    try:
        claims = jwt.decode(
            token,
            settings.api_secret.get_secret_value(),
            ["HS256"],
            issuer=settings.api_key,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "nbf", "iss"]},
        )
    except jwt.InvalidTokenError:
        raise Unauthenticated("signature-wrong" if token else "signature-missing") from None
    wanted = base64.b64encode(hashlib.sha256(call.body).digest())
    # A join token is signed with the same secret and has no such claim, so it passes for no webhook.
    if not hmac.compare_digest(wanted, str(claims.get("sha256", "")).encode()):
        raise Unauthenticated("signature-wrong")


_KINDS = {
    "participant_joined": "joined",
    "participant_left": "left",
    "participant_connection_aborted": "aborted",
    "room_finished": "closed",
}


Seconds = Annotated[int, Field(ge=0, lt=2**32)]
"""Since 1970."""


class _Participant(BaseModel):
    sid: Identifier = ""
    identity: str = ""
    joined_at: Seconds = Field(alias="joinedAt", default=0)


class _Room(BaseModel):
    sid: Identifier = ""
    name: str = ""


class _Webhook(BaseModel):
    """What we read of a ``WebhookEvent`` in proto3 JSON: 64-bit numbers come as strings, empty fields not at all."""

    id: Identifier = Field(min_length=1)
    event: str
    created_at: Seconds = Field(alias="createdAt", default_factory=lambda: int(time.time()))
    participant: _Participant | None = None
    room: _Room | None = None


def read_call(raw: bytes) -> Call | None:
    """A verified webhook in our words; None if it cannot be read."""
    try:
        call = _Webhook.model_validate_json(raw)
    except ValidationError:
        return None
    participant, room = call.participant or _Participant(), call.room or _Room()
    return Call(
        id=call.id,
        kind=_KINDS.get(call.event, ""),
        visit=_visit(room.name),
        room=room.sid,
        connection=participant.sid,
        role=_role(participant.identity),
        at=call.created_at,
        since=participant.joined_at or None,
    )


def _visit(room: str) -> UUID | None:
    try:
        return UUID(room.removeprefix("visit-")) if room.startswith("visit-") else None
    except ValueError:
        return None


def _role(identity: str) -> Role | None:
    return next((role for role in Role if role.value == identity), None)

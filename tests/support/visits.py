"""Visits for tests: one that is scheduled, what was said of it, and calls of the video platform, signed as it signs them."""

import base64
import datetime as dt
import hashlib
import json
import time
from typing import Any

import jwt

from tests.support.care import Answer, Care
from tests.support.consultation import registered

__all__ = ["KEY", "LIVEKIT", "SECRET", "ask", "called", "deliver", "planned", "said", "scheduled", "signed", "state", "treated"]

KEY, SECRET = "the-tests-key", "the-tests-secret-which-is-long-enough"
LIVEKIT = {
    "TELEMED_LIVEKIT_URL": "ws://127.0.0.1:7880",
    "TELEMED_LIVEKIT_API_KEY": KEY,
    "TELEMED_LIVEKIT_API_SECRET": SECRET,
}


async def ask(clinic: Care, login: str | None, method: str, path: str, body: object = None, **more: Any) -> Answer:
    """Ask the service as somebody."""
    return await clinic.call(login, "video_visits", method, path, body, **more)


async def scheduled(clinic: Care, minutes: int = 60, environment: dict[str, str] | None = None) -> tuple[str, str]:
    """The service runs, and a visit of the patient with the psychiatrist is in so many minutes."""
    await clinic.spawn("video_visits", **(environment or {}))
    patient = await treated(clinic)
    return patient, await planned(clinic, patient, minutes)


async def treated(clinic: Care) -> str:
    """A patient whom the running service knows, with nurse.b and psychiatrist.a on the care team."""
    patient = await registered(clinic)
    team = [("nurse.b", "nurse"), ("psychiatrist.a", "prescriber")]
    body = {"care_team": [{"staff": clinic.id(login), "role": role} for login, role in team]}
    (await clinic.call("front_desk.a", "consultation", "PUT", f"/patients/{patient}/care-team", body, version=3)).ok()
    await clinic.until("video_visits", "select jsonb_array_length(care_team) = 2 from patient_fact")
    await clinic.until("video_visits", "select count(*) = 4 from staff_fact")
    await clinic.until("video_visits", "select count(*) = 1 from calendar_fact")
    return patient


async def planned(clinic: Care, patient: str, minutes: int) -> str:
    """Path of a visit of the patient with the psychiatrist in so many minutes."""
    now = await clinic.value("", "select clinic_now()")
    wanted = {"clinician": clinic.id("psychiatrist.a"), "starts": (now + dt.timedelta(minutes=minutes)).isoformat()}
    made = (await ask(clinic, "front_desk.a", "POST", f"/patients/{patient}/visits", wanted)).ok()
    return f"/visits/{made['visit']}"


async def said(clinic: Care, kind: str) -> list[dict[str, Any]]:
    """What the service said of a kind, in order."""
    rows = await clinic.rows(
        "video_visits", "select body from outbox where type = $1 order by id", f"org.telemed.video_visits.{kind}.v1"
    )
    return [json.loads(row["body"])["data"] for row in rows]


def signed(body: bytes, **claims: Any) -> str:
    """The token of a call, as the platform makes it."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    now = int(time.time())
    return jwt.encode({"iss": KEY, "nbf": now - 5, "exp": now + 300, "sha256": digest, **claims}, SECRET, "HS256")


async def called(
    clinic: Care,
    visit: str,
    event: str,
    number: str,
    *,
    role: str = "",
    sid: str = "",
    ago: float = 0,
    token: str | None = None,
) -> Answer:
    """The platform calls; its clock is real time."""
    document: dict[str, Any] = {"id": f"EV_{number}", "event": event, "createdAt": str(int(time.time() - ago))}
    document["room"] = {"name": f"visit-{visit.rsplit('/', 1)[1]}"}
    if role:
        document["participant"] = {"sid": sid, "identity": role}
    return await deliver(clinic, json.dumps(document).encode(), token)


async def deliver(clinic: Care, body: bytes, token: str | None = None) -> Answer:
    """These bytes come as a call of the platform, signed by it unless a token is given."""
    headers = {"Authorization": token or signed(body), "Content-Type": "application/webhook+json"}
    url = clinic.running["video_visits"].url + "/webhooks/livekit"
    async with clinic.session.post(url, data=body, headers=headers) as response:
        text = await response.read()
        return Answer(response.status, json.loads(text) if text else None, response.headers)


async def state(clinic: Care, visit: str) -> str:
    """Where the visit stands, as anybody of its team sees it."""
    return str((await ask(clinic, "nurse.b", "GET", visit)).ok()["state"])

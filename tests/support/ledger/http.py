"""Routes of the ledger. A plain JSON edge: the real one belongs to the services of the product."""

import functools
import json
from datetime import datetime

from aiohttp import web

from services.runtime.database import OutcomeUnknown, Reader, Unavailable
from services.runtime.messaging.changes import CancelTimers, Changes, Context, Rejected, Reply, SetTimer
from services.runtime.messaging.schedule import LocalRule
from services.runtime.messaging.unit_of_work import Decide, EventTooLarge, IdempotencyKey
from services.runtime.serve import Runtime
from tests.support.ledger.commands import PostEntry, post_entry

__all__ = ["routes"]


def routes(application: web.Application, runtime: Runtime) -> None:
    """Add the ledger's routes."""
    application.router.add_post("/entries", functools.partial(_post_entry, runtime))
    application.router.add_post("/timers", functools.partial(_post_timer, runtime))


async def _post_entry(runtime: Runtime, request: web.Request) -> web.Response:
    body = await request.read()
    command = PostEntry(**json.loads(body))
    key = IdempotencyKey.of("test", "ledger", "test", "post-entry", request.headers["Idempotency-Key"], body)
    return await _answer(runtime, functools.partial(post_entry, command), key)


async def _post_timer(runtime: Runtime, request: web.Request) -> web.Response:
    wanted = await request.json()

    async def set_timer(_: Reader, __: Context) -> Changes:
        due = datetime.fromisoformat(wanted["due"])
        when = LocalRule(due, wanted["zone"]) if wanted.get("zone") else due
        cancel = [CancelTimers(wanted["subject"])] if wanted.get("replace") else []
        timer = SetTimer(wanted["kind"], wanted["key"], wanted["subject"], when)
        return Changes(timers=[*cancel, timer])

    return await _answer(runtime, set_timer, None)


async def _answer(runtime: Runtime, decide: Decide, key: IdempotencyKey | None) -> web.Response:
    try:
        reply: Reply | Rejected = await runtime.unit_of_work.execute(decide, key=key)
    except Unavailable:
        return web.json_response({"code": "unavailable"}, status=503, headers={"Retry-After": "1"})
    except OutcomeUnknown:
        return web.json_response({"code": "outcome-unknown"}, status=503, headers={"Retry-After": "1"})
    except EventTooLarge:
        return web.json_response({"code": "event-too-large"}, status=413)
    return web.Response(body=reply.body, status=reply.status, content_type="application/json")

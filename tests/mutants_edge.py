"""Removes each safety mechanism of the edge, the logs and the traces in turn: ``python -m tests.mutants_edge [name ...]``."""

import sys

from tests.mutants import Mutant, run

MUTANTS = (
    Mutant(
        "reading on after a refusal",
        "services/runtime/edge/connections.py",
        "                await self._linger(self._over)\n",
        "                pass\n",
        ("tests/integration/test_edge_attacks.py::test_a_refusal_of_unreadable_bytes_arrives_however_much_the_client_still_writes",),
    ),
    Mutant(
        "a request waits until its body is there",
        "services/runtime/edge/connections.py",
        "            if self._complete():\n",
        "            if self._limits:\n",
        ("tests/faults/test_edge.py",),
    ),
    Mutant(
        "a client that leaves is no error",
        "services/runtime/edge/connections.py",
        " or isinstance(exc, ConnectionError):",
        ":",
        ("tests/faults/test_edge.py",),
    ),
    Mutant(
        "deadline of a body",
        "services/runtime/edge/server.py",
        "            async with asyncio.timeout(self._settings.body_timeout_s):\n",
        "            async with asyncio.timeout(None):\n",
        ("tests/integration/test_edge_attacks.py::test_clients_that_do_not_finish_are_cut_off",),
    ),
    Mutant(
        "strict parameters",
        "services/runtime/edge/strict_json.py",
        "        if int in kinds and _WHOLE.match(text):\n",
        "        if int in kinds and text.strip().lstrip('+').isdigit():\n",
        ("tests/unit/test_parameters.py",),
    ),
    Mutant(
        "whole text must have the form of a number",
        "services/runtime/edge/fields.py",
        "_DECIMAL.fullmatch(value)",
        "_DECIMAL.match(value)",
        ("tests/integration/test_edge_attacks.py::test_times_zones_ids_and_quantities_are_strict",),
    ),
    Mutant(
        "request ids are UUIDs",
        "services/runtime/edge/server.py",
        "request_id = given if _REQUEST_ID.match(given) else uuid4().hex",
        "request_id = given or uuid4().hex",
        ("tests/integration/test_edge_attacks.py::test_line_breaks_reach_neither_headers_nor_logs",),
    ),
    Mutant(
        "allow-list of logs",
        "services/runtime/log.py",
        "    return {key: value for key, value in entry.items() if key in ALLOWED}\n",
        "    return entry\n",
        ("tests/unit/test_log.py",),
    ),
    Mutant(
        "no message of a library",
        "services/runtime/log.py",
        "name=record.name, error_class=error)",
        "name=record.getMessage(), error_class=error)",
        ("tests/unit/test_log.py",),
    ),
    Mutant(
        "no text of an error in a span",
        "services/runtime/tracing.py",
        "    except BaseException:\n        span.set_status(Status(StatusCode.ERROR))\n",
        "    except BaseException as error:\n        span.record_exception(error)\n"
        "        span.set_status(Status(StatusCode.ERROR))\n",
        ("tests/integration/test_tracing.py",),
    ),
    Mutant(
        "links to what caused a batch",
        "services/runtime/tracing.py",
        "                found.append(Link(cause))\n",
        "                pass\n",
        ("tests/integration/test_tracing.py",),
    ),
    Mutant(
        "authentication",
        "services/runtime/edge/server.py",
        "        if scheme.lower() != wanted or not token:\n            raise _unauthenticated(\"token-missing\")\n",
        "        if scheme.lower() != wanted or not token:\n"
        "            return Principal('i', 's', 'c', getattr(policy, 'roles', frozenset()), 's')\n",
        ("tests/integration/test_openapi_fuzzed.py",),
    ),
    Mutant(
        "undeclared answers",
        "services/runtime/edge/openapi.py",
        "        found.append(problems.UNAUTHENTICATED)\n",
        "        pass\n",
        ("tests/integration/test_openapi_fuzzed.py",),
    ),
    Mutant(
        "a newer row waits behind what came before it",
        "services/runtime/edge/stream.py",
        "        self._waiting.pop(key, None)\n",
        "",
        ("tests/unit/test_edge_stream.py",),
    ),
    Mutant(
        "too many waiting events end a stream",
        "services/runtime/edge/stream.py",
        "            self._waiting.clear()\n            self.end(\"overflow\")\n",
        "            self._waiting.clear()\n",
        ("tests/unit/test_edge_stream.py",),
    ),
    Mutant(
        "nobody waits for a writer of the audit that has gone home",
        "services/runtime/edge/audit.py",
        "            self._writer = None\n\n    async def _write_batch",
        "            asyncio.get_running_loop().call_soon(setattr, self, \"_writer\", None)\n\n    async def _write_batch",
        ("tests/integration/test_edge_policies.py::test_a_reader_that_asks_again_at_once_is_written_down_again",),
    ),
    Mutant(
        "catching up before a stream is fed with what is new",
        "services/staff_dashboard/commands.py",
        "        await self._catch_up(viewer, database)\n",
        "        viewer.position = standing.position\n",
        ("tests/integration/test_board.py::test_a_client_that_is_cut_again_and_again_misses_nothing",),
    ),
    Mutant(
        "a cursor knows what was shown",
        "services/staff_dashboard/commands.py",
        "        if cursor.view != view.digest or cursor.position",
        "        if cursor.position",
        ("tests/integration/test_board.py::test_what_cannot_be_told_without_a_gap_begins_anew",),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run(MUTANTS))

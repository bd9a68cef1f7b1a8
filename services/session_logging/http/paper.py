"""The route of the paper batch: what was kept on a sheet while the system was down, in one call."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from services.runtime.database import Reader
from services.runtime.edge import problems
from services.runtime.edge.fields import Id, Instant, Request, Response
from services.runtime.edge.policy import Bearer
from services.runtime.edge.problems import FieldProblem, ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Route, reply
from services.runtime.edge.strict_json import problems_of
from services.runtime.messaging.changes import Changes, Context, Rejected
from services.runtime.messaging.unit_of_work import Decide
from services.session_logging.commands.paper import REFUSED, Paper, Row, Taken
from services.session_logging.domain.paper import Sheet
from services.session_logging.http.infusion import RescueValues, rescue
from services.session_logging.http.shared import (
    ILLEGAL,
    LOCKED,
    NURSES,
    OUTSIDE,
    Rate,
    SessionPath,
    SessionShown,
    Volume,
    of,
    person,
    refused,
    shown,
)
from services.session_logging.http.watch import VitalsValues, typed
from services.therapies import evidence

__all__ = ["routes"]

_NOTHING = ProblemType("nothing-taken", 422, "No row of the sheet can be taken: every bad field of each is named")


class VitalsRow(VitalsValues):
    """A set of vitals."""

    kind: Literal["vitals"]
    at: Instant


class RescueRow(RescueValues):
    """Another drug than the infusion."""

    kind: Literal["rescue-drug"]
    at: Instant


class _Act(Request):
    """Something that was done to the pump; by whoever types it, unless ``done_by`` says otherwise."""

    at: Instant
    done_by: Id | None = None


class RateRow(_Act):
    """Another rate."""

    kind: Literal["rate"]
    rate: Rate


class PauseRow(_Act):
    """The pump stood from then on."""

    kind: Literal["pause"]
    reason: Literal["alert", "patient-asked", "line-problem", "other"]


class ResumeRow(_Act):
    """The pump ran again; on whose order, and whether the patient agreed, if the sheet says so."""

    kind: Literal["resume"]
    rate: Rate
    ordered_by: Id | None = None
    patient_agrees: bool | None = None


class EndRow(_Act):
    """The pump was off for good; what it had delivered, if somebody has read it, and why, if not because it was done."""

    kind: Literal["end"]
    pump_volume: Volume | None = None
    reason: Literal["patient-asked", "emergency"] | None = None


class SymptomsOverRow(Request):
    """The symptoms that were entered were over."""

    kind: Literal["symptoms-over"]
    at: Instant


AnyRow = Annotated[
    VitalsRow | RescueRow | RateRow | PauseRow | ResumeRow | EndRow | SymptomsOverRow, Field(discriminator="kind")
]


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A row that is none."""

    problems: tuple[tuple[str, str], ...]


def _each_for_itself(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A row that is wrong keeps no other from being known: what another tells of may be dangerous."""
    try:
        return handler(value)
    except ValidationError as error:
        # The first step to every field is the row's kind: the branch of the union.
        kind = value.get("kind") if isinstance(value, dict) else None
        found = [(one.at.removeprefix(f"/{kind}"), one.code) for one in problems_of(error, {kind: value})]
        return _Wrong(tuple(("/kind", "not-allowed") if code.startswith("union-tag") else (at, code) for at, code in found))


class SheetBody(Request):
    """The rows of the sheet, in any order."""

    rows: Annotated[
        tuple[Annotated[AnyRow, WrapValidator(_each_for_itself)], ...], Field(min_length=1, max_length=200, strict=False)
    ]


class FieldShown(Response):
    """A bad field of a row, and why."""

    pointer: str
    code: str


class RowShown(Response):
    """What became of a row: ``accepted``, ``duplicate`` or ``refused``."""

    row: int
    status: str
    entry: Id | None
    errors: list[FieldShown]


class SheetShown(Response):
    """The session as it stands then, and what became of each row."""

    session: SessionShown
    rows: list[RowShown]


def routes(paper: Paper) -> tuple[Route, ...]:
    """The route, in the room."""
    mmHg = {"unit": "mm[Hg]"}
    at = "2026-01-25T15:40:00Z"
    return (
        Route(
            name="transcribe_paper",
            method="POST",
            path_template="/sessions/{session}/paper-batches",
            summary="What was kept on paper while the system was down: each row is taken, known, or refused for itself",
            policy=Bearer(NURSES, of("session")),
            audit="session.transcribe-paper",
            request=SheetBody,
            path=SessionPath,
            response=SheetShown,
            command=_transcribe(paper),
            idempotency=KEY_REQUIRED,
            errors=(ILLEGAL, LOCKED, OUTSIDE, _NOTHING),
            max_body=256 * 1024,
            examples=(
                Example(
                    {
                        "rows": [
                            {"kind": "vitals", "at": at, "sbp": {"value": "128", **mmHg}, "dbp": {"value": "78", **mmHg}},
                            {"kind": "pause", "at": at, "reason": "other"},
                        ]
                    }
                ),
            ),
        ),
    )


def _sheet(number: int, row: Any, by: UUID) -> Sheet:
    data: dict[str, Any]
    match row:
        case VitalsRow():
            data = typed(row)
        case RescueRow():
            data = rescue(row, by).said()
        case _:
            data = {name: str(value) for name, value in row if name not in ("kind", "at") and value is not None}
    match row:
        case ResumeRow():
            data["patient_agrees"] = row.patient_agrees
        case EndRow():
            data |= {"pump_volume": data.get("pump_volume"), "reason": row.reason or "complete"}
    return Sheet(number, row.kind, row.at, {**data, "source": "paper"})


def _transcribe(paper: Paper) -> Callable[[Asked[SheetBody, SessionPath]], Decide]:
    def command(asked: Asked[SheetBody, SessionPath]) -> Decide:
        by = person(asked)
        sheets: list[Sheet] = []
        wrong: list[Row] = []
        for number, row in enumerate(asked.body.rows):
            if isinstance(row, _Wrong):
                wrong.append(Row(number, REFUSED, problems=row.problems))
            else:
                sheets.append(_sheet(number, row, by))

        async def decide(read: Reader, context: Context) -> Changes | Rejected:
            made = await paper.transcribe(asked.path.session, sheets, by, read, context)
            if isinstance(made, Rejected):
                return made
            if isinstance(made, evidence.Rejected):
                return refused(made)
            changes, taken = made
            return _answered(changes, taken, sorted([*taken.rows, *wrong], key=lambda one: one.row))

        return decide

    return command


def _answered(changes: Changes, taken: Taken, rows: list[Row]) -> Changes | Rejected:
    found = [
        RowShown(
            row=one.row,
            status=one.status,
            entry=one.entry,
            errors=[FieldShown(pointer=_pointer(at), code=code) for at, code in one.problems],
        )
        for one in rows
    ]
    if all(one.status == REFUSED for one in rows):
        errors = [FieldProblem(f"/rows/{one.row}{error.pointer}", error.code) for one in found for error in one.errors]
        return Rejected(_NOTHING.code, body=problems.document(_NOTHING, errors=errors), final=False)
    return replace(changes, reply=reply(SheetShown(session=shown(taken.session), rows=found)))


def _pointer(at: str) -> str:
    """A field of a row: a pointer already, or as the rules name it."""
    return at if at.startswith("/") or not at else FieldProblem.of_path(at, "").at

"""Routes of the ledger: one of each kind that the edge knows."""

import functools
import os
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from services.runtime.database import Reader
from services.runtime.edge.break_glass import BREAK_GLASS, or_broken_glass
from services.runtime.edge.fields import Code, Id, Instant, Int64, Line, Note, Quantity, Request, Response, Zone, field_error
from services.runtime.edge.pages import Page
from services.runtime.edge.policy import Bearer, OneTimeLink, Public, WebhookSignature, role_is_enough, standard_webhook
from services.runtime.edge.principal import Principal, Role
from services.runtime.edge.problems import ProblemType
from services.runtime.edge.route import KEY_REQUIRED, Asked, Example, Find, Found, NaturalKey, Route, reply
from services.runtime.edge.signature import SIGNATURE_PROBLEMS, SignatureBody, content_hash, sign
from services.runtime.messaging.changes import Append, CancelTimers, Changes, Context, Rejected, Row, SetTimer
from services.runtime.messaging.schedule import LocalRule
from services.runtime.messaging.unit_of_work import Decide
from tests.support.ledger import commands, store

__all__ = ["LINK", "ROUTES", "WEBHOOK_SECRET"]

WEBHOOK_SECRET = b"only-for-the-tests-of-the-ledger"
LINK = "link-of-the-ledgers-tests"
_ENQUIRIES = int(os.environ.get("LEDGER_ENQUIRIES_A_MINUTE", "5"))
_STAFF = frozenset({Role.NURSE, Role.PRESCRIBER})
_OVERDRAWN = ProblemType("overdrawn", 409, "The balance would leave its limits")
_EXISTS = ProblemType("entry-exists", 409, "There is an entry with this id already")
_PAST = ProblemType("starts-in-the-past", 409, "Terms begin now or later")


async def related(read: Reader, who: Principal, record: Mapping[str, str], _: Context) -> str:
    """Staff see every account; a patient sees the accounts that are theirs by the ledger's own facts."""
    if who.roles & _STAFF:
        return "staff"
    query = "select exists (select 1 from patient_fact where account = $1 and person = $2)"
    return "own-account" if await read.fetchval(query, record["account"], who.person) else ""


_ANYBODY = Bearer(_STAFF | {Role.PATIENT}, related)
_STAFF_ONLY = Bearer(_STAFF, role_is_enough)


class Account(Request):
    """Path of an account."""

    account: Annotated[Code, Field(max_length=40)]


class PostEntry(Request):
    """An amount for an account."""

    account: Annotated[Code, Field(max_length=40)]
    entry: Annotated[Code, Field(max_length=40)]
    amount: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    flagged: bool = False
    padding: Note = ""
    page: bool = False


class EntryPosted(Response):
    """It is written."""

    entry: str
    balance: int


class SetTimerBody(Request):
    """A timer; with a zone, ``due`` is what the wall clock there shows."""

    kind: Code
    key: Annotated[str, Field(min_length=1, max_length=100, pattern="^[!-~]+$")]
    subject: Annotated[str, Field(min_length=1, max_length=100, pattern="^[!-~]+$")]
    due: Annotated[str, Field(max_length=40)]
    zone: Zone | None = None
    replace: bool = False

    @model_validator(mode="after")
    def _due_fits(self) -> "SetTimerBody":
        try:
            due = datetime.fromisoformat(self.due)
        except ValueError:
            raise field_error("not-an-instant", "/due") from None
        if (due.tzinfo is None) != (self.zone is not None):
            raise field_error("no-offset" if self.zone is None else "offset-and-zone", "/due")
        if not 1900 < due.year < 2200:
            raise field_error("out-of-range", "/due")
        return self


class AccountShown(Response):
    """An account."""

    account: str
    balance: int
    version: int


class AccountsShown(Response):
    """Accounts in order of their ids."""

    accounts: list[AccountShown]


class Terms(Request):
    """What an account costs, from when to when."""

    label: Line
    owner: Id
    starts: Instant
    ends: Instant
    zone: Zone
    fee: Quantity
    active: bool
    units: Int64
    tags: Annotated[list[Line], Field(max_length=20)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _in_order(self) -> "Terms":
        if self.ends <= self.starts:
            raise field_error("ends-before-it-starts", "/ends")
        return self


class TermsShown(Response):
    """Terms with the version that an edit must name."""

    account: str
    label: str
    version: int


class Enquiry(Request):
    """From anybody."""

    text: Annotated[Note, Field(min_length=1, max_length=2000)]


class EnquiryTaken(Response):
    """A number to refer to."""

    enquiry: str


class Called(Request):
    """What the platform tells us."""

    id: Code
    account: Annotated[Code, Field(max_length=40)]


class Done(Response):
    """Taken."""

    taken: bool = True


def _post_entry(asked: Asked[PostEntry]) -> Decide:
    return functools.partial(commands.post_entry, commands.PostEntry(**asked.body.model_dump()))


def _set_timer(asked: Asked[SetTimerBody]) -> Decide:
    wanted = asked.body

    async def decide(_: Reader, __: Context) -> Changes:
        due = datetime.fromisoformat(wanted.due)
        when = LocalRule(due, wanted.zone) if wanted.zone else due
        cancel = [CancelTimers(wanted.subject)] if wanted.replace else []
        return Changes(timers=[*cancel, SetTimer(wanted.kind, wanted.key, wanted.subject, when)])

    return decide


def _show(asked: Asked[Any, Account]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        account = await store.account(read, asked.path.account)
        if not account.version:
            return Rejected("not-found", status=404)
        return Found(AccountShown(account=account.id, balance=account.balance, version=account.version))

    return find


def _list(asked: Asked[Any, Any, Page]) -> Find:
    async def find(read: Reader, _: Context) -> Found:
        rows = await store.accounts_after(read, (asked.query.after or ("",))[0], asked.query.limit + 1)
        shown = rows[: asked.query.limit]
        body = AccountsShown(accounts=[AccountShown(account=a.id, balance=a.balance, version=a.version) for a in shown])
        return Found(body, [a.id for a in shown], (shown[-1].id,) if len(rows) > len(shown) else ())

    return find


async def _terms_version(read: Reader, asked: Asked[Any, Account]) -> int | None:
    """0 while an account has no terms yet; None when there is no account."""
    query = "select coalesce(t.version, 0) from account a left join terms t on t.account = a.id where a.id = $1"
    version: int | None = await read.fetchval(query, asked.path.account)
    return version


def _edit_terms(asked: Asked[Terms, Account]) -> Decide:
    wanted, account = asked.body, asked.path.account

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        if wanted.starts < context.now:
            return Rejected("starts-in-the-past")
        version = await _terms_version(read, asked)
        values = {
            "label": wanted.label,
            "owner": wanted.owner,
            "starts_at": wanted.starts,
            "ends_at": wanted.ends,
            "zone": wanted.zone,
            "fee": wanted.fee.value,
            "fee_unit": wanted.fee.unit,
            "active": wanted.active,
            "units": wanted.units,
        }
        row = Row("terms", {"account": account}, values, version or 0)
        return Changes(rows=[row], reply=reply(TermsShown(account=account, label=wanted.label, version=row.version)))

    return decide


class Chart(Request):
    """Path of a patient's chart."""

    patient: Id


class ChartShown(Response):
    """That somebody may see it is all there is to see."""

    patient: Id


def _show_chart(asked: Asked[Any, Chart]) -> Find:
    async def find(_: Reader, __: Context) -> Found:
        return Found(ChartShown(patient=asked.path.patient))

    return find


async def _nobody(_: Reader, __: Principal, ___: Mapping[str, str], ____: Context) -> str:
    return ""


class TermsContent(Response):
    """What is signed of an account's terms."""

    account: str
    label: str
    fee: Quantity


class TermsToSign(Response):
    """Terms with the hash that a signature names."""

    content: TermsContent
    shown: str


class SignTerms(Request):
    """A signature under the terms."""

    signature: SignatureBody


class TermsSigned(Response):
    """The signature."""

    signature: Id


async def _terms_content(read: Reader, account: str) -> tuple[TermsContent, int] | None:
    row = await read.fetchrow("select label, fee, fee_unit, version from terms where account = $1", account)
    if row is None:
        return None
    fee = Quantity(value=row["fee"], unit=row["fee_unit"])
    return TermsContent(account=account, label=row["label"], fee=fee), row["version"]


def _show_terms(asked: Asked[Any, Account]) -> Find:
    async def find(read: Reader, _: Context) -> Found | Rejected:
        known = await _terms_content(read, asked.path.account)
        if known is None:
            return Rejected("not-found", status=404)
        return Found(TermsToSign(content=known[0], shown=content_hash(known[0])))

    return find


def _sign_terms(asked: Asked[SignTerms, Account]) -> Decide:
    account = asked.path.account

    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        known = await _terms_content(read, account)
        if known is None:
            return Rejected("not-found", status=404)
        content, version = known
        signed = sign(
            asked.body.signature, asked.principal, content, subject=f"terms/{account}", version=version, context=context
        )
        if isinstance(signed, Rejected):
            return signed
        return Changes(rows=[signed.row], reply=reply(TermsSigned(signature=signed.id), 201))

    return decide


def _enquire(_: Asked[Enquiry]) -> Decide:
    async def decide(__: Reader, context: Context) -> Changes:
        number = str(uuid.uuid4())
        row = Append("fired", {"dedupe_key": f"enquiry:{number}", "due_at": context.now, "at": context.now})
        return Changes(rows=[row], reply=reply(EnquiryTaken(enquiry=number), 201))

    return decide


def _called(asked: Asked[Called]) -> Decide:
    async def decide(_: Reader, context: Context) -> Changes:
        row = Append("fired", {"dedupe_key": f"called:{asked.body.id}", "due_at": context.now, "at": context.now})
        return Changes(rows=[row], reply=reply(Done()))

    return decide


def _use_link(_: Asked[Any]) -> Decide:
    async def decide(read: Reader, context: Context) -> Changes | Rejected:
        if await read.fetchval("select exists (select 1 from fired where dedupe_key = 'link')"):
            return Rejected("not-found", status=404)
        row = Append("fired", {"dedupe_key": "link", "due_at": context.now, "at": context.now})
        return Changes(rows=[row], reply=reply(Done()))

    return decide


async def _find_link(read: Reader, token: str, _: Context) -> Principal | None:
    if token != LINK or await read.fetchval("select exists (select 1 from fired where dedupe_key = 'link')"):
        return None
    return Principal("link", "patient.l", "link", frozenset({Role.PATIENT}), "patient.l")


ROUTES = (
    Route(
        name="post_entry",
        method="POST",
        path_template="/entries",
        summary="Post an amount to an account",
        policy=_ANYBODY,
        audit="entry.post",
        request=PostEntry,
        response=EntryPosted,
        status=201,
        command=_post_entry,
        about=lambda asked: {"account": asked.body.account},
        idempotency=KEY_REQUIRED,
        errors=(_OVERDRAWN, _EXISTS),
        max_body=256 * 1024,
        examples=(Example({"account": "a1", "entry": "e1", "amount": 5}, {"entry": "e1", "balance": 5}),),
    ),
    Route(
        name="set_timer",
        method="POST",
        path_template="/timers",
        summary="Set a timer",
        policy=_STAFF_ONLY,
        audit="timer.set",
        request=SetTimerBody,
        status=204,
        command=_set_timer,
        idempotency=NaturalKey("the timer's key"),
        about=lambda asked: {"timer": asked.body.key},
        examples=(Example({"kind": "ledger.fire", "key": "k1", "subject": "s1", "due": "2026-12-01T09:00:00+00:00"}),),
    ),
    Route(
        name="show_account",
        method="GET",
        path_template="/accounts/{account}",
        summary="One account",
        policy=_ANYBODY,
        audit="account.read",
        path=Account,
        response=AccountShown,
        query=_show,
        examples=(Example(response={"account": "a1", "balance": 5, "version": 1}),),
    ),
    Route(
        name="list_accounts",
        method="GET",
        path_template="/accounts",
        summary="All accounts, page by page",
        policy=_STAFF_ONLY,
        audit="account.list",
        query_model=Page,
        response=AccountsShown,
        query=_list,
    ),
    Route(
        name="edit_terms",
        method="PUT",
        path_template="/accounts/{account}/terms",
        summary="Agree on terms, or change them",
        policy=_ANYBODY,
        audit="terms.edit",
        path=Account,
        request=Terms,
        response=TermsShown,
        command=_edit_terms,
        edits=_terms_version,
        errors=(_PAST,),
    ),
    Route(
        name="show_terms",
        method="GET",
        path_template="/accounts/{account}/terms",
        summary="Terms as they are signed",
        policy=_ANYBODY,
        audit="terms.read",
        path=Account,
        response=TermsToSign,
        query=_show_terms,
    ),
    Route(
        name="sign_terms",
        method="POST",
        path_template="/accounts/{account}/terms/signatures",
        summary="Sign the terms that were shown",
        policy=_STAFF_ONLY,
        audit="terms.sign",
        path=Account,
        request=SignTerms,
        response=TermsSigned,
        status=201,
        command=_sign_terms,
        idempotency=KEY_REQUIRED,
        errors=SIGNATURE_PROBLEMS,
    ),
    Route(
        name="show_chart",
        method="GET",
        path_template="/charts/{patient}",
        summary="A chart that is nobody's business",
        policy=Bearer(_STAFF, or_broken_glass(_nobody)),
        audit="chart.read",
        path=Chart,
        response=ChartShown,
        query=_show_chart,
    ),
    BREAK_GLASS,
    Route(
        name="enquire",
        method="POST",
        path_template="/enquiries",
        summary="Ask something, without an account",
        policy=Public(count=_ENQUIRIES, per_s=60),
        audit="enquiry.take",
        request=Enquiry,
        response=EnquiryTaken,
        status=201,
        command=_enquire,
        idempotency=KEY_REQUIRED,
        max_body=8 * 1024,
    ),
    Route(
        name="platform_called",
        method="POST",
        path_template="/webhooks/platform",
        summary="What the platform tells",
        policy=WebhookSignature("platform", standard_webhook(lambda: [WEBHOOK_SECRET])),
        audit="platform.call",
        request=Called,
        response=Done,
        command=_called,
        idempotency=NaturalKey("the call's id", lambda asked: asked.body.id),
        about=lambda asked: {"account": asked.body.account},
        max_body=16 * 1024,
    ),
    Route(
        name="use_link",
        method="POST",
        path_template="/links",
        summary="Use a link once",
        policy=OneTimeLink(_find_link),
        audit="link.use",
        response=Done,
        command=_use_link,
        idempotency=NaturalKey("the link, which is used up"),
    ),
)

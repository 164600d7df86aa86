"""Who one is; keys, proposals, webhooks, and the record of what was privileged."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from msgspec import Struct
from starlette.responses import Response

from solvent.errors import BadInput, Problem
from solvent.messages.codec import command_json, read_command
from solvent.service.approvals import Approvals, NotApproved, Proposal
from solvent.service.callers import Action, Caller, Needs, Role
from solvent.service.names import Id
from solvent.service.problems import NotThere, problem
from solvent.service.security.assembly import Security
from solvent.service.security.keys import TOKEN_S, Key, bad
from solvent.service.webhook_targets import NotAllowed
from solvent.service.wire import answer, operation, told

router = APIRouter(prefix="/v1", tags=["security"])
Self = Annotated[Caller, Depends(Needs(Action.SELF_READ))]
Secures = Annotated[Caller, Depends(Needs(Action.SECURITY))]
Proposes = Annotated[Caller, Depends(Needs(Action.PROPOSE))]
Approves = Annotated[Caller, Depends(Needs(Action.APPROVE))]
Number = Annotated[int, Path(ge=1, le=1 << 40, description="A proposal's number.")]


class SessionDocument(Struct):
    """Who one is. `accounts` null for all. `csrf` goes into the header `Solvent-CSRF` of whatever
    changes something with a session's cookie."""

    name: str
    role: str
    accounts: list[str] | None
    csrf: str | None


class TokenDocument(Struct):
    """A bearer token, told once, and for how many seconds it is good."""

    access_token: str
    expires_in: int


class NewKey(Struct, forbid_unknown_fields=True):
    """A key to be made. `accounts` of readers and traders; `expires_ms` since 1970 UTC."""

    owner: str
    role: Role
    accounts: list[str] | None = None
    label: str = ""
    expires_ms: int | None = None


class KeyRow(Struct, omit_defaults=True):
    """A key as it is kept; `key` is told once, when it is made."""

    id: str
    owner: str
    role: str
    accounts: list[str] | None
    label: str
    made_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    status: str
    key: str | None = None


class KeysDocument(Struct):
    """All keys."""

    rows: list[KeyRow]


class RecordsPage(Struct):
    """A page of the record of what was privileged; `next` is the cursor of the next page."""

    rows: list[dict[str, Any]]
    next: int | None


class ProposalTold(Struct, forbid_unknown_fields=True):
    """A command that two persons must want; its actor and key are set by the service."""

    what: str
    command: msgspec.Raw


class ProposalRow(Struct):
    """A proposal, with the very command that will be done."""

    number: int
    what: str
    by: str
    status: str
    approved_by: str
    detail: str
    made_ms: int
    expires_ms: int
    command: msgspec.Raw


class ProposalsDocument(Struct):
    """The newest proposals first."""

    rows: list[ProposalRow]


class NewHook(Struct, forbid_unknown_fields=True):
    """Somebody who wants to be told; without `kinds`, of everything."""

    url: str
    kinds: list[str] = []


class HookMade(Struct):
    """A webhook, and the secret that signs what it is told, told once."""

    id: str
    where: str
    kinds: list[str]
    secret: str


class HooksDocument(Struct):
    """Webhooks (of URLs the host alone), how many deliveries wait and are dead, and the dead."""

    rows: list[dict[str, Any]]
    counts: dict[str, int]
    dead: list[dict[str, Any]]


class Changed(Struct):
    """How many things were changed."""

    count: int


_KEY: Final = msgspec.json.Decoder(NewKey)
_PROPOSAL: Final = msgspec.json.Decoder(ProposalTold)
_HOOK: Final = msgspec.json.Decoder(NewHook)


def _security(request: Request) -> Security:
    found: Security = request.app.state.security
    return found


# ── oneself ──────────────────────────────────────────────────────────────────────────────────────


@router.get("/session", **operation(SessionDocument))
async def session(request: Request, caller: Self) -> Response:
    """Who one is."""
    named = caller.credential.startswith("session ")
    csrf = _security(request).sessions.csrf(caller) if named else None
    accounts = None if caller.accounts is None else sorted(caller.accounts)
    return answer(SessionDocument(caller.name, str(caller.role), accounts, csrf))


@router.delete("/sessions", **operation(Changed))
async def everywhere(request: Request, caller: Self) -> Response:
    """Log out everywhere."""
    count = await asyncio.to_thread(_security(request).sessions.everywhere, caller.name)
    return answer(Changed(count))


@router.post("/token", **operation(TokenDocument))
async def token(request: Request, caller: Self) -> Response:
    """A bearer token for who comes with a key: it ends when it expires, or the key does."""
    made = _security(request).callers.token(caller, ttl_s=TOKEN_S)
    return _once(TokenDocument(made.reveal(), TOKEN_S), 200)


def _once(document: Any, status: int) -> Response:
    """What is told once: nobody between keeps it."""
    return answer(document, status, headers={"cache-control": "no-store"})


# ── keys, and the record ─────────────────────────────────────────────────────────────────────────


def _row(key: Key, now_ms: int, secret: str | None = None) -> KeyRow:
    accounts = None if key.accounts is None else sorted(key.accounts)
    return KeyRow(
        key.id, key.owner, str(key.role), accounts, key.label, key.made_ms, key.expires_ms,
        key.revoked_ms, key.status(now_ms), secret,
    )  # fmt: skip


@router.get("/keys", **operation(KeysDocument))
async def keys(request: Request, caller: Secures) -> Response:
    """All keys; secrets are not kept."""
    del caller
    security = _security(request)
    now_ms = security.callers.clock()
    return answer(KeysDocument([_row(one, now_ms) for one in security.keys.all()]))


@router.post(
    "/keys",
    **operation(
        KeyRow, body=NewKey, status=201,
        example={"owner": "alice", "role": "trader", "accounts": ["alice"]},
    ),
)  # fmt: skip
async def create_key(request: Request, caller: Secures) -> Response:
    """Make a key. What it signs with is told once."""
    del caller
    new, security = await told(request, _KEY), _security(request)
    now_ms = security.callers.clock()
    key, whole = await asyncio.to_thread(
        security.keys.create, owner=new.owner, role=new.role, accounts=new.accounts,
        label=new.label, expires_ms=new.expires_ms, now_ms=now_ms,
    )  # fmt: skip
    return _once(_row(key, now_ms, whole.reveal()), 201)


@router.delete("/keys/{id:name}", **operation(KeyRow))
async def revoke_key(request: Request, id: Id, caller: Secures) -> Response:  # noqa: A002
    """Revoke a key: no request with it is taken from now on."""
    del caller
    security = _security(request)
    now_ms = security.callers.clock()
    if all(one.id != id for one in security.keys.all()):
        raise NotThere(f"expected a key, found none of id {id!r}")
    return answer(_row(await asyncio.to_thread(security.keys.revoke, id, now_ms), now_ms))


@router.get("/privileged", **operation(RecordsPage))
async def privileged(
    request: Request, caller: Secures,
    cursor: Annotated[int, Query(ge=0, le=1 << 40, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Rows at most.")] = 100,
) -> Response:  # fmt: skip
    """The record of what was privileged: who, what, when, and what came of it."""
    del caller
    audit = _security(request).audit
    rows = await asyncio.to_thread(audit.read, after=cursor, limit=limit)
    following = rows[-1].number if len(rows) == limit else None
    return answer(RecordsPage([one.to_dict() for one in rows], following))


# ── two persons ──────────────────────────────────────────────────────────────────────────────────


def _proposal(one: Proposal) -> ProposalRow:
    return ProposalRow(
        one.number, one.what, one.by, one.status, one.approved_by, one.detail, one.made_ms,
        one.expires_ms, msgspec.Raw(command_json(one.command)),
    )  # fmt: skip


def _approvals(request: Request) -> Approvals:
    found: Approvals = request.app.state.approvals
    return found


@router.get("/proposals", **operation(ProposalsDocument))
async def proposals(request: Request, caller: Proposes) -> Response:
    """Proposals, the newest first."""
    del caller
    found = await _approvals(request).proposals()
    return answer_raw(ProposalsDocument([_proposal(one) for one in found]))


def answer_raw(document: Any, status: int = 200) -> Response:
    """A document with commands in it as they are written."""
    return Response(
        msgspec.json.encode(document), status_code=status, media_type="application/json"
    )


@router.post(
    "/proposals",
    **operation(
        ProposalRow, body=ProposalTold, status=201,
        example={
            "what": "the rules of July",
            "command": {"do": "unfreeze_account", "key": "-", "actor": "-", "account": "alice"},
        },
    ),
)  # fmt: skip
async def propose(request: Request, caller: Proposes) -> Response:
    """Put a command up for approval by another person; nothing is done yet."""
    wanted = await told(request, _PROPOSAL)
    command = read_command(bytes(wanted.command), source="command")
    if isinstance(command, Problem):
        raise BadInput(command)
    made = await _approvals(request).propose(caller.name, wanted.what, command)
    return answer_raw(_proposal(made), 201)


@router.post("/proposals/{number}/approve", **operation(ProposalRow))
async def approve(request: Request, number: Number, caller: Approves) -> Response:
    """Carry out what another person has proposed."""
    return await _decided(_approvals(request).approve(number, caller.name))


@router.post("/proposals/{number}/withdraw", **operation(ProposalRow))
async def withdraw(request: Request, number: Number, caller: Proposes) -> Response:
    """Take a proposal back."""
    return await _decided(_approvals(request).withdraw(number, caller.name))


async def _decided(asked: Any) -> Response:
    try:
        return answer_raw(_proposal(await asked))
    except NotApproved as fault:
        return problem(409, code="NOT_APPROVED", detail=str(fault))


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────


@router.get("/webhooks", **operation(HooksDocument))
async def hooks(request: Request, caller: Secures) -> Response:
    """Who is told of calls and liquidations, and what could not be delivered."""
    del caller
    outbox = _security(request).outbox

    def found() -> HooksDocument:
        return HooksDocument(
            [one.shown() for one in outbox.hooks()], outbox.counted(), outbox.dead()
        )

    return answer(await asyncio.to_thread(found))


@router.post(
    "/webhooks",
    **operation(
        HookMade, body=NewHook, status=201,
        example={"url": "https://hooks.example.com/solvent", "kinds": ["margin.called"]},
    ),
)  # fmt: skip
async def create_hook(request: Request, caller: Secures) -> Response:
    """Tell somebody of calls and liquidations from now on."""
    del caller
    new = await told(request, _HOOK)
    try:
        hook, secret = await asyncio.to_thread(_security(request).outbox.create, new.url, new.kinds)
    except NotAllowed as fault:
        raise bad("url", str(fault).removeprefix("expected "), "another") from None
    shown = hook.shown()
    return _once(HookMade(hook.id, shown["where"], shown["kinds"], secret.reveal()), 201)


@router.delete("/webhooks/{id:name}", **operation(Changed))
async def remove_hook(request: Request, id: Id, caller: Secures) -> Response:  # noqa: A002
    """Tell somebody no more."""
    del caller
    if not await asyncio.to_thread(_security(request).outbox.remove, id):
        raise NotThere(f"expected a webhook, found none of id {id!r}")
    return answer(Changed(1))


@router.post("/webhooks/resend", **operation(Changed))
async def resend(
    request: Request, caller: Secures,
    hook: Annotated[str | None, Query(max_length=64, description="Of one webhook alone.")] = None,
) -> Response:  # fmt: skip
    """Try again what could not be delivered."""
    del caller
    return answer(Changed(await asyncio.to_thread(_security(request).outbox.resend, hook)))

"""All that may be asked of a served venue: the names of `sv.Engine`, and what only a service has.

Each function makes a `Call`; `Client` and `AsyncClient` have them as methods. Sizes, prices and
amounts are text, Decimal or whole numbers, never floats. A `key` names what changes something: one
is made up where none is told, and the same is sent again when a call is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import Struct

from solvent.client.wire import Call, answer_of, events_of, reader
from solvent.documents import AccountDocument, VenueDocument
from solvent.errors import BadInput, Problem, Reject
from solvent.host import Answer, CommandLike
from solvent.messages import commands as c
from solvent.messages.codec import command_json, read_command
from solvent.messages.fields import Command, Phase, SelfTrade, Trigger
from solvent.order_rows import Impact, OpenOrder, ReliefPlan, ShownBook
from solvent.order_units import Told, bad_input
from solvent.outcomes import Fill, Outcome
from solvent.served import AuditDocument, JournalPage, JournalRow, MarginDocument, WhatIfDocument

OPERATOR: Final = "operator"
_LINES: Final = "application/x-ndjson"


class _OrderDone(Struct):
    account: str
    order: str
    symbol: str
    side: str
    status: str
    why: str
    filled: Decimal
    average: Decimal | None
    left: Decimal
    fills: list[Fill]
    done: dict[str, Any]


class _Page(Struct):
    rows: list[OpenOrder]
    next: int | None


class _Line(Struct):
    key: str
    result: str
    sequence: int | None
    code: str | None
    events: list[dict[str, Any]]


_ORDER_DONE: Final = reader(_OrderDone)
_PAGE: Final = reader(_Page)
_LINE: Final = msgspec.json.Decoder(_Line)
_ANY: Final = reader(dict[str, Any])


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(one, safe="") for one in parts)


def _number(told: Told | None) -> str | None:
    """A number as the wire takes it; BadInput for a float."""
    if told is None:
        return None
    if isinstance(told, bool | float):
        raise bad_input(
            Reject.FIELD_NOT_A_NUMBER, "call", None, "text, a Decimal or a whole number",
            f"the float {told!r}",
        )  # fmt: skip
    return f"{told:f}" if isinstance(told, Decimal) else str(told)


def _body(**fields: Any) -> bytes:
    return msgspec.json.encode(
        {k: v for k, v in fields.items() if v is not None and v is not False}
    )


def _key(key: str | None) -> str:
    return key or uuid4().hex


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def submit(command: CommandLike, *, time_ms: int | None = None) -> Call[Answer]:
    """One command, durable when it is answered."""
    many = submit_all([command], times_ms=None if time_ms is None else [time_ms])
    return Call(
        method=many.method, path=many.path, read=lambda body: many.read(body)[0], body=many.body,
        media=many.media, accept=many.accept, key=many.key,
    )  # fmt: skip


def submit_all(
    commands: Iterable[CommandLike], *, times_ms: Sequence[int] | None = None
) -> Call[list[Answer]]:
    """Commands in order; answered when all are durable. Each has its own key."""
    told = [one if isinstance(one, Command) else read_command(one) for one in commands]
    bad = [one for one in told if isinstance(one, Problem)]
    if bad:
        raise BadInput(*bad)
    good = [one for one in told if isinstance(one, Command)]
    call = results(good, times_ms or [None] * len(good))
    return Call(
        method=call.method, path=call.path, body=call.body, media=call.media, accept=call.accept,
        read=lambda body: [answer for answer, _ in call.read(body)], key=call.key,
    )  # fmt: skip


def results(
    commands: Sequence[Command], times_ms: Sequence[int | None]
) -> Call[list[tuple[Answer, str]]]:
    """The same, each with `accepted`, `rejected` or `repeated`."""
    lines = []
    for one, time_ms in zip(commands, times_ms, strict=True):
        line = command_json(one)
        lines.append(line if time_ms is None else b'{"time_ms":%d,' % time_ms + line[1:])
    return Call(
        method="POST", path="/v1/commands", body=b"\n".join(lines), media=_LINES, accept=_LINES,
        read=lambda body: [(_answer(one), _LINE.decode(one).result) for one in body.splitlines()],
        key=_key(None),
    )  # fmt: skip


def _answer(line: bytes) -> Answer:
    told = _LINE.decode(line)
    code = int(Reject[told.code]) if told.code else 0
    return Answer(told.sequence or 0, code, events_of(told.events))


def place(
    account: str, symbol: str, side: str, size: Told, price: Told | None = None, *,
    order: str | None = None, order_type: str | None = None, time_in_force: str | None = None,
    expire: int | datetime | None = None, post_only: bool = False, reduce_only: bool = False,
    display: Told | None = None, self_trade: str = SelfTrade.NEWEST,
    stop_price: Told | None = None, stop_trigger: str = Trigger.MARK, group: str | None = None,
    session: str | None = None, key: str | None = None,
) -> Call[Outcome]:  # fmt: skip
    """Place an order: a limit order if there is a price, otherwise its type must be told."""
    if isinstance(expire, datetime):
        if expire.tzinfo is None:
            raise bad_input(
                Reject.TIME_INVALID, "call", "expire", "a moment with a zone", str(expire)
            )
        expire = int((expire - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000)
    name = _key(key)
    body = _body(
        symbol=symbol, side=side, size=_number(size), price=_number(price), order=order or name,
        order_type=order_type, time_in_force=time_in_force, expire=expire, post_only=post_only,
        reduce_only=reduce_only, display=_number(display), self_trade=self_trade,
        stop_price=_number(stop_price), stop_trigger=stop_trigger, group=group, session=session,
    )  # fmt: skip
    return _order_call(
        "POST", _path("accounts", account, "orders"), body, name, account, order or name,
        symbol=symbol, side=side,
    )  # fmt: skip


def amend(
    account: str, order: str, *, size: Told | None = None, price: Told | None = None,
    key: str | None = None,
) -> Call[Outcome]:  # fmt: skip
    """Change an order's price, or its size: all of it, what has traded counted."""
    body = _body(size=_number(size), price=_number(price)) or b"{}"
    path = _path("accounts", account, "orders", order)
    return _order_call("PATCH", path, body, _key(key), account, order)


def _order_call(
    method: str, path: str, body: bytes, key: str, account: str, order: str, *, symbol: str = "",
    side: str = "",
) -> Call[Outcome]:  # fmt: skip
    def read(told: bytes) -> Outcome:
        done: _OrderDone = _ORDER_DONE(told)
        return Outcome(
            answer=answer_of(done.done), account=done.account, order=done.order,
            symbol=done.symbol, side=done.side, status=done.status, why=done.why,
            filled=done.filled, average=done.average, left=done.left, fills=tuple(done.fills),
        )  # fmt: skip

    def refused(answer: Answer) -> Outcome:
        nothing = Decimal(0)
        return Outcome(
            answer=answer, account=account, order=order, symbol=symbol, side=side,
            status="rejected", why="", filled=nothing, average=None, left=nothing, fills=(),
        )  # fmt: skip

    return Call(method=method, path=path, body=body, read=read, refused=refused, key=key)


def _done(
    method: str, path: str, body: bytes = b"", *, key: str | None,
    params: Mapping[str, str | int | bool] | None = None,
) -> Call[Answer]:  # fmt: skip
    return Call(
        method=method, path=path, body=body, read=lambda told: answer_of(_ANY(told)),
        refused=lambda answer: answer, key=_key(key), params=params or {},
    )  # fmt: skip


def cancel(account: str, order: str, *, key: str | None = None) -> Call[Answer]:
    """Take an order or a stop back."""
    return _done("DELETE", _path("accounts", account, "orders", order), key=key)


def cancel_all(
    account: str, *, symbol: str | None = None, underlying: str | None = None,
    side: str | None = None, group: str | None = None, key: str | None = None,
) -> Call[Answer]:  # fmt: skip
    """Take all of an account's orders and stops back that fit everything told."""
    told = {"symbol": symbol, "underlying": underlying, "side": side, "group": group}
    return _done(
        "DELETE", _path("accounts", account, "orders"), key=key,
        params={name: value for name, value in told.items() if value is not None},
    )  # fmt: skip


def block(
    account: str, counterparty: str, symbol: str, side: str, size: Told, price: Told, *,
    reference: str, key: str | None = None,
) -> Call[Answer]:  # fmt: skip
    """One side's report of a trade agreed elsewhere; done when the other side's fits it."""
    body = _body(
        counterparty=counterparty, symbol=symbol, side=side, size=_number(size),
        price=_number(price), reference=reference,
    )  # fmt: skip
    return _done("POST", _path("accounts", account, "blocks"), body, key=key)


def withdraw_block(
    account: str, reference: str, *, key: str | None = None, actor: str | None = None
) -> Call[Answer]:
    """Take a report back to which the other side has not come."""
    told = {"account": account, "reference": reference}
    return submit(c.WithdrawBlock(key=_key(key), actor=actor or account, **told))


def disconnect(
    account: str, session: str, *, key: str | None = None, actor: str | None = None
) -> Call[Answer]:
    """A session of an account has ended: the orders that were placed for it go."""
    return submit(
        c.Disconnect(key=_key(key), actor=actor or account, account=account, session=session)
    )


def reset_protection(
    account: str, group: str, *, key: str | None = None, actor: str | None = None
) -> Call[Answer]:
    """Let a group quote again."""
    return submit(
        c.ResetProtection(key=_key(key), actor=actor or account, account=account, group=group)
    )


def relieve(account: str, *, key: str | None = None, actor: str | None = None) -> Call[Answer]:
    """Take orders back where an account's available margin is below zero, by its rules' plan."""
    return submit(c.RelieveMargin(key=_key(key), actor=actor or account, account=account))


def phase(
    symbol: str, phase: str, *, key: str | None = None, actor: str | None = None
) -> Call[Answer]:
    """Call an auction, halt a contract, or let it trade continuously."""
    if phase not in tuple(Phase):
        words = ", ".join(Phase)
        raise bad_input(Reject.COMMAND_MALFORMED, symbol, "phase", f"one of {words}", repr(phase))
    return submit(
        c.SetPhase(key=_key(key), actor=actor or OPERATOR, symbol=symbol, phase=Phase(phase))
    )


def deposit(account: str, asset: str, amount: Told, *, key: str | None = None) -> Call[Answer]:
    """Credit money that has arrived, in units of the asset."""
    body = _body(asset=asset, amount=_number(amount))
    return _done("POST", _path("accounts", account, "deposits"), body, key=key)


def withdraw(
    account: str, asset: str, amount: Told, *, reference: str, key: str | None = None
) -> Call[Answer]:
    """Ask for money to leave; it has left when that is confirmed."""
    body = _body(asset=asset, amount=_number(amount), reference=reference)
    return _done("POST", _path("accounts", account, "withdrawals"), body, key=key)


def open_account(
    account: str, rulebook: str, *, kind: str = "user", parent: str | None = None,
    key: str | None = None,
) -> Call[Answer]:  # fmt: skip
    """Open an account, or a subaccount of `parent`."""
    body = _body(account=account, rulebook=rulebook, kind=kind, parent=parent)
    return _done("POST", _path("accounts"), body, key=key)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


def orders(account: str, *, symbol: str | None = None) -> Call[list[OpenOrder]]:
    """An account's open orders and stops, the oldest first; at most a thousand."""
    params: dict[str, str | int | bool] = {"limit": 1_000}
    if symbol is not None:
        params["symbol"] = symbol
    return Call(
        method="GET", path=_path("accounts", account, "orders"), params=params,
        read=lambda body: list(_PAGE(body).rows),
    )  # fmt: skip


def book(symbol: str, levels: int | None = None) -> Call[ShownBook]:
    """A book as all may see it, to so many levels."""
    params = {} if levels is None else {"levels": levels}
    return Call(method="GET", path=_path("books", symbol), params=params, read=reader(ShownBook))


def impact(symbol: str, side: str, size: Told) -> Call[Impact]:
    """What a taker of a side would get at once."""
    params: dict[str, str | int | bool] = {"side": side, "size": _number(size) or ""}
    return Call(
        method="GET", path=_path("books", symbol, "impact"), params=params, read=reader(Impact)
    )


def relief(account: str) -> Call[ReliefPlan]:
    """Which orders would be taken back so that an account has its margin again."""
    return Call(method="GET", path=_path("accounts", account, "relief"), read=reader(ReliefPlan))


def account(name: str) -> Call[AccountDocument]:
    """Everything about an account."""
    return Call(method="GET", path=_path("accounts", name), read=reader(AccountDocument))


def venue(*, hashed: bool = False) -> Call[VenueDocument]:
    """The venue in short."""
    params = {"hashed": "true"} if hashed else {}
    return Call(method="GET", path="/v1/venue", params=params, read=reader(VenueDocument))


def hash_() -> Call[str]:
    """A hash of everything that the engine remembers."""
    read = reader(VenueDocument)
    return Call(
        method="GET", path="/v1/venue", params={"hashed": "true"},
        read=lambda body: str(read(body).state_hash),
    )  # fmt: skip


def plans() -> Call[list[dict[str, Any]]]:
    """What is to be done now about accounts that are short of margin; nothing is done."""
    return Call(
        method="GET", path="/v1/liquidations/plans", read=lambda body: list(_ANY(body)["plans"])
    )


def tend() -> Call[dict[str, Any]]:
    """Do all that is to be done now; a second call at the same moment does nothing."""
    return Call(method="POST", path="/v1/liquidations/tend", read=_ANY)


def audit() -> Call[AuditDocument]:
    """Check the books, by the engine and by a program that shares no code with it."""
    return Call(method="GET", path="/v1/audit", read=reader(AuditDocument))


def journal(after: int = 0, limit: int = 100) -> Call[JournalPage]:
    """A page of the journal: rows after a sequence."""
    return Call(
        method="GET", path="/v1/journal", params={"after": after, "limit": limit},
        read=reader(JournalPage),
    )  # fmt: skip


def journal_row(sequence: int) -> Call[JournalRow]:
    """One command."""
    return Call(method="GET", path=f"/v1/journal/{sequence}", read=reader(JournalRow))


def whatif(
    *, account: str | None = None, portfolio: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None, rulebook: str | None = None,
) -> Call[WhatIfDocument]:  # fmt: skip
    """Where an account or a portfolio stands, and would stand after changes; nothing is done.

    A portfolio is `{"positions": [{"symbol", "size"[, "entry_price"]}], "balances": {asset:
    amount}}`; changes are `{"close": [symbol], "add": [{"symbol", "size"[, "price"]}], "deposit":
    {asset: amount}}`.
    """
    body = _body(account=account, portfolio=portfolio, changes=changes, rulebook=rulebook)
    return Call(method="POST", path="/v1/whatif", body=body, read=reader(WhatIfDocument))


def margin(
    *, account: str | None = None, portfolio: Mapping[str, Any] | None = None,
    rulebook: str | None = None,
) -> Call[MarginDocument]:  # fmt: skip
    """Where an account or a portfolio stands, and what it is charged for."""
    body = _body(account=account, portfolio=portfolio, rulebook=rulebook)
    return Call(method="POST", path="/v1/margin", body=body, read=reader(MarginDocument))


def compare(
    rulebooks: Sequence[str], *, account: str | None = None,
    portfolio: Mapping[str, Any] | None = None,
) -> Call[list[dict[str, Any]]]:  # fmt: skip
    """The same account or portfolio under several rulebooks: a row each."""
    body = _body(account=account, portfolio=portfolio, rulebooks=list(rulebooks))
    return Call(
        method="POST", path="/v1/compare", body=body, read=lambda told: list(_ANY(told)["rows"])
    )


def liquidation_prices(
    *, account: str | None = None, portfolio: Mapping[str, Any] | None = None,
    rulebook: str | None = None,
) -> Call[list[dict[str, Any]]]:  # fmt: skip
    """Where an account or a portfolio would be liquidated: a row an underlying, and one for all."""
    body = _body(account=account, portfolio=portfolio, rulebook=rulebook)
    return Call(
        method="POST", path="/v1/liquidation", body=body,
        read=lambda told: list(_ANY(told)["rows"]),
    )  # fmt: skip


def arrays(rulebook: str) -> Call[bytes]:
    """The risk arrays of a rulebook, as the journal has them (`risk.wire.decode_arrays`)."""
    return Call(
        method="GET", path=_path("rulebooks", rulebook, "arrays"), read=bytes,
        accept="application/octet-stream",
    )  # fmt: skip

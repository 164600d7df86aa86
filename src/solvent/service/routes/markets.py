"""What is published for everyone: contracts, prices, rulebooks, and the risk arrays with which
anybody can check their own margin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from msgspec import Struct
from starlette.responses import Response, StreamingResponse

from solvent.engine.state import Contract
from solvent.messages import commands as c
from solvent.order_units import decimal_of
from solvent.risk import RiskArrays
from solvent.service.callers import Action, Caller, Needs
from solvent.service.doing import Done, IdempotencyKey, do, key_of
from solvent.service.names import RulebookName, Symbol
from solvent.service.problems import NotThere
from solvent.service.published import Board, Published
from solvent.service.routes.accounts import Cursor, Limit, made
from solvent.service.wire import ARROW, JSON, LINES, answer, encode, operation, told

router = APIRouter(prefix="/v1", tags=["market"])
Looks = Annotated[Caller, Depends(Needs(Action.MARKET_READ))]
Adopts = Annotated[Caller, Depends(Needs(Action.RULEBOOK_ADOPT))]
Seen = Annotated[
    str | None, Header(alias="If-None-Match", description="The ETag that is known already.")
]
Accept = Annotated[
    str | None,
    Header(alias="Accept", description=f"`{ARROW}`, `{LINES}`, or the bytes as published."),
]
OCTETS: Final = "application/octet-stream"
TOML: Final = "application/toml"
NANO: Final = 10**9


class InstrumentRow(Struct):
    """A contract: its terms, its mark, and how it trades. `settled` says how it ended."""

    symbol: str
    kind: str
    base: str
    quote: str
    settlement: str
    inverse: bool
    lot_size: str
    contract_size: str
    tick_size: str
    expiry_ms: int | None
    strike: str | None
    option_type: str | None
    mark: Decimal | None
    phase: str
    settled: str


class InstrumentsPage(Struct):
    """A page of contracts in the order in which they were listed."""

    rows: list[InstrumentRow]
    next: int | None


class IndexRow(Struct):
    """The fair price of an underlying, in dollars."""

    underlying: str
    price: Decimal


class MarketDocument(Struct):
    """Prices after command `sequence`."""

    sequence: int
    time_ms: int
    index: list[IndexRow]
    marks: dict[str, Decimal]


class RulebookRow(Struct):
    """A rulebook in force: its parameters' day, and the ETag and time of its risk arrays."""

    name: str
    day: str
    venue: bool
    digest: str
    arrays: str | None
    arrays_as_of_ms: int | None


class RulebooksDocument(Struct):
    """Rulebooks in force."""

    rows: list[RulebookRow]


class PublicationRow(Struct):
    """Something that was published last: the command and how to fetch it."""

    what: str
    name: str
    as_of_ms: int | None
    etag: str
    href: str


class PublicationsDocument(Struct):
    """What is published now, as of command `sequence`."""

    sequence: int
    rows: list[PublicationRow]


class AdoptTold(Struct, forbid_unknown_fields=True):
    """A rulebook to be put in force: its text, and the day whose parameters count (today's)."""

    toml: str
    day: str | None = None
    venue: bool = False


_ADOPT: Final = msgspec.json.Decoder(AdoptTold)


def _now(request: Request) -> Published:
    board: Board = request.app.state.board
    return board.now


def _instrument(contract: Contract) -> InstrumentRow:
    told, mark = contract.listing, contract.mark_points
    return InstrumentRow(
        told.symbol, told.kind, told.base, told.quote, told.settlement, told.inverse,
        told.lot_size, told.contract_size, told.tick_size, told.expiry_ms, told.strike,
        told.option_type, None if mark is None else decimal_of(mark * contract.deal.point),
        contract.phase, contract.settled,
    )  # fmt: skip


@router.get("/instruments", **operation(InstrumentsPage))
async def instruments(
    request: Request, caller: Looks, cursor: Cursor = None, limit: Limit = 100,
    underlying: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> Response:  # fmt: skip
    """List contracts, those that have ended among them, as they were listed."""
    del caller
    rows: list[InstrumentRow] = []
    last = None
    for one in _now(request).state.contracts[0 if cursor is None else cursor + 1 :]:
        if underlying is not None and one.deal.underlying != underlying:
            continue
        if len(rows) == limit:
            return answer(InstrumentsPage(rows, last))
        rows.append(_instrument(one))
        last = one.number
    return answer(InstrumentsPage(rows, None))


@router.get("/instruments/{symbol:name}", **operation(InstrumentRow))
async def instrument(request: Request, symbol: Symbol, caller: Looks) -> Response:
    """One contract."""
    del caller
    state = _now(request).state
    number = state.contract_numbers.get(symbol)
    if number is None or number >= len(state.contracts):
        raise NotThere(f"expected a contract that is listed, found {symbol!r}")
    return answer(_instrument(state.contracts[number]))


@router.get("/market", **operation(MarketDocument))
async def market(request: Request, caller: Looks) -> Response:
    """Index prices and marks of all contracts, as they were published last."""
    del caller
    now = _now(request)
    state = now.state
    return answer(
        MarketDocument(
            now.sequence, state.log.time_ms,
            [
                IndexRow(name, decimal_of(Fraction(one.price_nano, NANO)))
                for name, one in state.underlyings.items()
            ],
            {
                one.listing.symbol: decimal_of(one.mark_points * one.deal.point)
                for one in state.contracts if one.mark_points is not None and not one.settled
            },
        )
    )  # fmt: skip


# ── rulebooks ────────────────────────────────────────────────────────────────────────────────────


@router.get("/rulebooks", **operation(RulebooksDocument))
async def rulebooks(request: Request, caller: Looks) -> Response:
    """Rulebooks in force."""
    del caller
    now = _now(request)
    return answer(RulebooksDocument([_rulebook(now, name) for name in now.rules]))


def _rulebook(now: Published, name: str) -> RulebookRow:
    rules = now.rules[name]
    return RulebookRow(
        name, rules.day, name == now.state.venue_rulebook, _digest(rules.toml.encode()),
        now.digests.get(name), None if rules.arrays is None else int(rules.arrays.as_of_ms),
    )  # fmt: skip


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _known(request: Request, name: str) -> Published:
    now = _now(request)
    if name not in now.rules:
        raise NotThere(f"expected one of {', '.join(now.rules) or 'no rulebooks'}, found {name!r}")
    return now


@router.get(
    "/rulebooks/{name:name}",
    **operation(media={TOML: {"schema": {"type": "string"}}}, also={304: "It is as you know it."}),
)
async def rulebook(
    request: Request, name: RulebookName, caller: Looks, seen: Seen = None
) -> Response:
    """A rulebook's text, as it was adopted."""
    del caller
    content = _known(request, name).rules[name].toml.encode()
    return _tagged(content, _digest(content), seen, TOML)


@router.put(
    "/rulebooks/{name:name}",
    **operation(Done, body=AdoptTold, example={"toml": "…", "day": "2026-06-30", "venue": False}),
)
async def adopt(
    request: Request, name: RulebookName, caller: Adopts, key: IdempotencyKey = None
) -> Response:
    """Put a rulebook in force."""
    wanted = await told(request, _ADOPT)
    day = wanted.day or datetime.now(UTC).date().isoformat()
    command = made(
        c.AdoptRulebook, key=key_of(key), actor=caller.name, name=name, toml=wanted.toml, day=day,
        venue=wanted.venue,
    )  # fmt: skip
    return answer(await do(request, command))


def _tagged(content: bytes, digest: str, seen: str | None, media: str) -> Response:
    """Content with its ETag; 304 where the caller has it already."""
    headers = {"etag": f'"{digest}"', "cache-control": "no-cache", "vary": "accept"}
    if seen is not None and _matches(digest, seen):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media, headers=headers)


def _matches(digest: str, seen: str) -> bool:
    tags = {one.strip().removeprefix("W/").strip('"') for one in seen.split(",")}
    return "*" in tags or digest in tags


# ── risk arrays ──────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/rulebooks/{name:name}/arrays",
    **operation(
        media={
            OCTETS: {"schema": {"type": "string", "format": "binary"}},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
            LINES: {"schema": {"type": "string"}},
        },
        also={304: "They are as you know them."},
    ),
)
async def arrays(
    request: Request, name: RulebookName, caller: Looks, seen: Seen = None, accept: Accept = None
) -> Response:
    """The risk arrays on which a rulebook decides now: the bytes that the journal has, or whole
    quanta of PnL per lot by instrument and scenario as Arrow or JSON lines."""
    del caller
    now = _known(request, name)
    rules = now.rules[name]
    if rules.arrays is None:
        raise NotThere(f"rulebook {name} has no arrays yet")
    digest, wanted = now.digests[name], accept or ""
    if seen is not None and _matches(digest, seen):
        return _tagged(b"", digest, seen, OCTETS)
    headers = {"etag": f'"{digest}"', "cache-control": "no-cache", "vary": "accept"}
    if ARROW in wanted:
        return Response(_arrow(rules.arrays), media_type=ARROW, headers=headers)
    if LINES in wanted or JSON in wanted:
        return StreamingResponse(_lines(rules.arrays), media_type=LINES, headers=headers)
    return _tagged(rules.arrays_bytes, digest, None, OCTETS)


def _lines(found: RiskArrays) -> Iterator[bytes]:
    """A line an instrument, a hundred at a time."""
    rows: list[bytes] = []
    count, universe = found.scenarios, found.universe
    for row, symbol in enumerate(universe.symbols):
        document: dict[str, Any] = {
            "symbol": symbol, "usable": bool(found.usable[row]),
            "lot_size": float(universe.lot_size[row]),
            "settlement": universe.settlements[universe.settlement[row]],
            "pnl": found.pnl[row, :count].tolist() if found.usable[row] else None,
        }  # fmt: skip
        rows.append(encode(document) + b"\n")
        if len(rows) == 100:
            yield b"".join(rows)
            rows.clear()
    yield b"".join(rows)


def _arrow(found: RiskArrays) -> bytes:
    """The same as a table: a column a scenario."""
    import io

    import polars as pl

    count, universe = found.scenarios, found.universe
    labels = [f"scenario_{number}" for number in range(count)]
    table = pl.DataFrame(
        {
            "symbol": list(universe.symbols), "usable": found.usable,
            "lot_size": universe.lot_size,
            "settlement": [universe.settlements[code] for code in universe.settlement],
            **{label: found.pnl[:, number] for number, label in enumerate(labels)},
        }
    )  # fmt: skip
    out = io.BytesIO()
    table.write_ipc_stream(out)
    return out.getvalue()


@router.get("/publications", **operation(PublicationsDocument))
async def publications(request: Request, caller: Looks) -> Response:
    """What is published now, and where: each has an ETag, the SHA-256 of its content."""
    del caller
    now = _now(request)
    rows = []
    for name, rules in now.rules.items():
        text, href = _digest(rules.toml.encode()), f"/v1/rulebooks/{quote(name, safe='')}"
        rows.append(PublicationRow("rulebook", name, None, text, href))
        if rules.arrays is not None:
            at_ms = int(rules.arrays.as_of_ms)
            rows.append(PublicationRow("arrays", name, at_ms, now.digests[name], f"{href}/arrays"))
    if now.market:
        etag = _digest(now.market)
        rows.append(PublicationRow("market", "snapshot", None, etag, "/v1/market/snapshot"))
    return answer(PublicationsDocument(now.sequence, rows))


@router.get(
    "/market/snapshot",
    **operation(
        media={OCTETS: {"schema": {"type": "string", "format": "binary"}}},
        also={304: "It is as you know it."},
    ),
)
async def snapshot(request: Request, caller: Looks, seen: Seen = None) -> Response:
    """The market that was published last, whole, for who wants to reprice it."""
    del caller
    content = _now(request).market
    if not content:
        raise NotThere("no market was published with its snapshot yet")
    return _tagged(content, _digest(content), seen, OCTETS)

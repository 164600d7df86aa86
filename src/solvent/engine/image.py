"""The whole state as bytes, and back; and its hash.

An image is sections by name. Long columns are little-endian 64-bit integers. Equal states have
equal images, and an image read back continues exactly as the state that it was taken of: whatever
has an order keeps it.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Any, Final

import msgspec

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.account.position import Position
from solvent.engine.open_orders import Asked
from solvent.engine.ordering import terms_by_instrument
from solvent.engine.publication import compile_rules
from solvent.engine.reference import deal_of, instrument_of, read_rules
from solvent.engine.state import (
    ANSWER,
    CLOSED,
    FROZEN,
    LIQUIDATION,
    OPEN,
    Account,
    Average,
    Block,
    Case,
    Combo,
    Contract,
    Log,
    Mode,
    Offer,
    Pending,
    Rules,
    State,
    Underlying,
)
from solvent.errors import check
from solvent.limits import COMBO_FIRST
from solvent.liquidation.calls import Call
from solvent.messages.codec import decode_command, encode_command
from solvent.messages.commands import ListCombo, ListInstrument
from solvent.messages.fields import Phase
from solvent.orders.desk import Desk

FORMAT: Final = 5
LOG: Final = "log"
_STATUSES: Final = (OPEN, FROZEN, LIQUIDATION, CLOSED)
_KINDS: Final = ("system", "user", "member", "backstop")
_ENCODER: Final = msgspec.msgpack.Encoder()
Column = bytes | list[str]
Columns = tuple[Column, ...]

# ── hashes ───────────────────────────────────────────────────────────────────────────────────────


def state_hash(state: State) -> str:
    """A hash of everything that the engine remembers."""
    return _root(sections(state))


def books_hash(state: State) -> str:
    """A hash of everything but the place in history: what a refused command leaves as it was."""
    return _root({name: part for name, part in sections(state).items() if name != LOG})


def image_hash(image: bytes) -> str:
    """The state's hash, from its image."""
    return _root(_opened(image))


def _root(parts: Mapping[str, bytes | memoryview]) -> str:
    root = blake2b(digest_size=32)
    for name in sorted(parts):
        root.update(name.encode() + b"\0" + blake2b(parts[name], digest_size=32).digest())
    return root.hexdigest()


# ── out ──────────────────────────────────────────────────────────────────────────────────────────


def image(state: State) -> bytes:
    """The state as bytes."""
    return _ENCODER.encode((FORMAT, sections(state)))


def sections(state: State) -> dict[str, bytes]:
    """Name → bytes of every part of the state."""
    log = state.log
    parts: dict[str, Any] = {
        LOG: (
            log.sequence, log.time_ms, log.chain, list(log.answers), b"".join(log.answers.values())
        ),
        "assets": (state.assets, sorted(state.interest_ms.items())),
        "ledger": _ledger(state),
        "accounts": _accounts(state),
        "positions": _positions(state),
        "combos": [encode_command(combo.listing) for combo in state.combos],
        "desk": state.desk.image(),
        "blocks": [
            (name, one.account, one.counterparty, one.instrument, one.lots, one.price_ticks)
            for name, one in state.blocks.items()
        ],
        "modes": [
            (account.number, [(number, mode.isolated, _text(mode.factor))
                              for number, mode in account.modes.items()])
            for account in state.accounts if account is not None and account.modes
        ],
        "given": [
            (account.number, list(account.given.items()))
            for account in state.accounts if account is not None and account.given
        ],
        "contracts": [_contract(contract) for contract in state.contracts],
        "underlyings": [
            (name, one.price_nano, list(one.seen)) for name, one in state.underlyings.items()
        ],
        "rules": [
            (name, rules.toml, rules.day, rules.arrays_bytes)
            for name, rules in state.rules.items()
        ],
        "venue": state.venue_rulebook,
        "pending": [
            (name, one.account, one.asset, one.amount, one.incoming)
            for name, one in state.pending.items()
        ],
        "references": list(state.references.items()),
        "calls": [
            (number, one.level, one.since_ms, one.amount_micro, one.deadline_ms, one.overdue,
             one.pool)
            for number, one in state.calls.items()
        ],
        "cases": [
            (number, one.begun_ms, str(one.equity_micro), str(one.maintenance_micro), one.pools,
             one.stepped_ms, one.steps, list(one.stepped.items()), one.takers)
            for number, one in state.cases.items()
        ],
        "auctions": [
            (number, one.begun_ms, one.solvent, one.cash, one.reserved, one.sold_ppb)
            for number, one in state.auctions.items()
        ],
        "backstops": list(state.backstops.items()),
        "fund_highs": [(asset, list(seen)) for asset, seen in state.fund_highs.items()],
        "disposals": list(state.disposals.items()),
    }  # fmt: skip
    parts |= _inputs(state)
    return {name: _ENCODER.encode(part) for name, part in parts.items()}


def _inputs(state: State) -> dict[str, Any]:
    """A venue that brings none has the image that it had before there were any."""
    found = [
        (account.number, list(account.inputs.items()))
        for account in state.accounts if account is not None and account.inputs
    ]  # fmt: skip
    return {"inputs": found} if found else {}


def _text(factor: Fraction | None) -> str:
    return "" if factor is None else str(factor)


def _column(numbers: Iterable[int]) -> Column:
    """64-bit integers as bytes; where one is larger, as debts and gains may come to be, as text."""
    numbers = list(numbers)
    try:
        column = array("q", numbers)
    except OverflowError:
        return [str(number) for number in numbers]
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _ledger(state: State) -> Columns:
    balances = state.ledger.balances
    nodes = [which for which in sorted(balances) if balances[which]]
    return _column(nodes), _column([balances[which] for which in nodes])


def _accounts(state: State) -> tuple[Any, ...]:
    accounts = [account for account in state.accounts if account is not None]
    rulebooks = list(dict.fromkeys(account.rulebook for account in accounts))
    code = {name: number for number, name in enumerate(rulebooks)}
    return (
        [account.name for account in accounts],
        _column([account.number for account in accounts]),
        bytes(_KINDS.index(account.kind) for account in accounts),
        _column([account.parent for account in accounts]),
        rulebooks,
        _column([code[account.rulebook] for account in accounts]),
        bytes(_STATUSES.index(account.status) for account in accounts),
        bytes(account.frozen for account in accounts),
        _column([account.subaccounts for account in accounts]),
    )


def _positions(state: State) -> Columns:
    rows = [
        (contract.number, holder, one.lots, one.entry_value, one.basis_value, one.realised)
        for contract in state.contracts
        for holder, one in contract.holders.items()
    ]
    return tuple(_column(column) for column in zip(*rows, strict=True)) or (b"",) * 6


def _contract(contract: Contract) -> tuple[Any, ...]:
    return (
        encode_command(contract.listing), contract.listed_ms, contract.phase.value,
        contract.settled, contract.mark_points, contract.settled_points,
        str(contract.basis_total), contract.funded_ms, contract.phase_ms, contract.auction_ms,
        _average(contract.future), _average(contract.spot),
    )  # fmt: skip


def _average(one: Average) -> tuple[Any, ...]:
    return one.price, one.since_ms, str(one.area), one.span_ms, one.known


# ── in ───────────────────────────────────────────────────────────────────────────────────────────


def _opened(stored: bytes) -> dict[str, memoryview]:
    version, parts = msgspec.msgpack.decode(stored, type=tuple[int, dict[str, memoryview]])
    check(version == FORMAT, "an image of this version", version)
    return parts


def restore(stored: bytes) -> State:
    """The state that an image was taken of. Whoever keeps images vouches for their bytes."""
    parts = _Parts(_opened(stored))
    state = State()
    state.log = _log(*parts[LOG])
    assets, interest = parts["assets"]
    state.assets = [(name, decimals) for name, decimals in assets]
    state.asset_numbers = {name: number for number, (name, _) in enumerate(state.assets)}
    state.interest_ms = dict(interest)
    nodes, amounts = map(_numbers, parts["ledger"])
    state.ledger.balances = dict(zip(nodes, amounts, strict=True))
    _put_accounts(state, parts["accounts"])
    for told in parts["contracts"]:
        _put_contract(state, told)
    _put_positions(state, parts["positions"])
    for number, modes in parts["modes"]:
        state.account(number).modes = {
            contract: Mode(isolated=isolated, factor=Fraction(factor) if factor else None)
            for contract, isolated, factor in modes
        }
    for number, given in parts["given"]:
        state.account(number).given = dict(given)
    for number, inputs in parts["inputs"] if "inputs" in parts.stored else ():
        state.account(number).inputs = dict(inputs)
    state.underlyings = {
        name: Underlying(price_nano=price, seen=deque((at, one) for at, one in seen))
        for name, price, seen in parts["underlyings"]
    }
    _put_rules(state, parts["rules"], parts["venue"])
    for told in parts["combos"]:
        _put_combo(state, decode_command(told))
    state.desk = Desk.restored(parts["desk"], terms_by_instrument(state))
    for number, mine in state.desk.orders.items():
        for name, one in mine.items():
            state.open.put(number, name, Asked(one.instrument, one.lots, one.price_ticks or 0))
    state.open.moved.clear()
    state.blocks = {
        name: Block(account=account, counterparty=counterparty, instrument=instrument, lots=lots,
                    price_ticks=price_ticks)
        for name, account, counterparty, instrument, lots, price_ticks in parts["blocks"]
    }  # fmt: skip
    state.pending = {
        name: Pending(account=account, asset=asset, amount=amount, incoming=incoming)
        for name, account, asset, amount, incoming in parts["pending"]
    }
    state.references = dict(parts["references"])
    _put_liquidations(state, parts)
    return state


def _put_liquidations(state: State, parts: _Parts) -> None:
    """Calls, liquidations and auctions that are under way."""
    state.calls = {
        number: Call(level=level, since_ms=since_ms, amount_micro=amount, deadline_ms=deadline_ms,
                     overdue=overdue, pool=pool)
        for number, level, since_ms, amount, deadline_ms, overdue, pool in parts["calls"]
    }  # fmt: skip
    for number, begun_ms, equity, maintenance, pools, *rest in parts["cases"]:
        stepped_ms, steps, stepped, takers = rest
        state.cases[number] = Case(
            begun_ms=begun_ms, equity_micro=int(equity), maintenance_micro=int(maintenance),
            pools=pools, stepped_ms=stepped_ms, steps=steps, stepped=dict(stepped), takers=takers,
        )  # fmt: skip
    state.auctions = {
        number: Offer(begun_ms=begun_ms, solvent=solvent, cash=cash, reserved=reserved,
                      sold_ppb=sold_ppb)
        for number, begun_ms, solvent, cash, reserved, sold_ppb in parts["auctions"]
    }  # fmt: skip
    state.backstops = dict(parts["backstops"])
    state.fund_highs = {
        asset: deque((hour, most) for hour, most in seen) for asset, seen in parts["fund_highs"]
    }
    state.disposals = dict(parts["disposals"])


class _Parts(dict[str, Any]):
    """Each part is read when it is asked for, and not kept."""

    def __init__(self, stored: Mapping[str, memoryview]) -> None:
        super().__init__()
        self.stored = stored

    def __missing__(self, name: str) -> Any:
        return msgspec.msgpack.decode(self.stored[name])


def _log(sequence: int, time_ms: int, chain: bytes, identities: list[str], packed: bytes) -> Log:
    answers = (packed[at : at + ANSWER.size] for at in range(0, len(packed), ANSWER.size))
    return Log(
        sequence=sequence, time_ms=time_ms, chain=chain,
        answers=dict(zip(identities, answers, strict=True)),
    )  # fmt: skip


def _numbers(column: Column) -> Sequence[int]:
    if isinstance(column, list):
        return [int(number) for number in column]
    numbers = array("q", column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _put_accounts(state: State, told: Any) -> None:
    names, numbers, kinds, parents, rulebooks, codes, statuses, frozen, subaccounts = told
    accounts: list[Account | None] = [None] * FIRST_ACCOUNT
    rows = zip(
        names, _numbers(numbers), kinds, _numbers(parents), _numbers(codes), statuses, frozen,
        _numbers(subaccounts), strict=True,
    )  # fmt: skip
    for name, number, kind, parent, code, status, is_frozen, below in rows:
        account = Account(
            number, name, _KINDS[kind], parent, rulebooks[code], _STATUSES[status],
            is_frozen == 1, below,
        )  # fmt: skip
        if number < FIRST_ACCOUNT:
            accounts[number] = account
        else:
            check(number == len(accounts), "accounts are numbered without a gap", number)
            accounts.append(account)
    state.accounts = accounts
    state.account_numbers = dict(zip(names, _numbers(numbers), strict=True))


def _put_contract(state: State, told: Any) -> None:
    (listing_bytes, listed_ms, phase, settled, mark_points, settled_points,
     basis_total, funded_ms, phase_ms, auction_ms, future, spot) = told  # fmt: skip
    listing = decode_command(listing_bytes)
    check(isinstance(listing, ListInstrument), "a contract is kept by its listing")
    number = len(state.contracts)
    asset = state.asset_numbers[listing.settlement]  # type: ignore[attr-defined]
    contract = Contract(
        number=number,
        listing=listing,  # type: ignore[arg-type]
        instrument=instrument_of(listing),  # type: ignore[arg-type]
        deal=deal_of(listing, number, asset, state.assets[asset][1]),  # type: ignore[arg-type]
        listed_ms=listed_ms, phase=Phase(phase), settled=settled, mark_points=mark_points,
        settled_points=settled_points, basis_total=int(basis_total),
        funded_ms=funded_ms, phase_ms=phase_ms, auction_ms=auction_ms,
        future=_put_average(future), spot=_put_average(spot),
    )  # fmt: skip
    state.contracts.append(contract)
    state.contract_numbers[contract.listing.symbol] = number


def _put_combo(state: State, listing: object) -> None:
    check(isinstance(listing, ListCombo), "a combination is kept by its listing")
    told: ListCombo = listing  # type: ignore[assignment]
    combo = Combo(
        number=COMBO_FIRST + len(state.combos), listing=told, tick=Fraction(told.tick_size),
        legs=tuple(
            (state.contracts[state.contract_numbers[leg.symbol]], leg.ratio) for leg in told.legs
        ),
    )  # fmt: skip
    state.combos.append(combo)
    state.contract_numbers[told.symbol] = combo.number


def _put_average(told: Any) -> Average:
    price, since_ms, area, span_ms, known = told
    return Average(price=price, since_ms=since_ms, area=int(area), span_ms=span_ms, known=known)


def _put_positions(state: State, told: Any) -> None:
    holders_of = [contract.holders for contract in state.contracts]
    accounts = state.accounts
    columns = map(_numbers, told)
    for number, holder, lots, entry, basis, realised in zip(*columns, strict=True):
        account = accounts[holder]
        # One number for the two where they are equal, and the account's own for its key: millions
        # of them are kept.
        position = Position(lots, entry, entry if basis == entry else basis, realised)
        holders_of[number][account.number] = position
        check(account is not None, "who holds a position is there", holder)
        if account.positions is None:
            account.positions = {number: position}
        else:
            account.positions[number] = position


def _put_rules(state: State, told: Any, venue: str) -> None:
    for name, toml, day, arrays_bytes in told:
        rules = Rules(toml=toml, day=day, rulebook=read_rules(name, toml, day))
        state.rules[name] = rules
        if arrays_bytes:
            found = compile_rules(state, rules, arrays_bytes)
            rules.arrays_bytes = arrays_bytes
            rules.arrays, rules.plan = found.arrays, found.plan
            rules.row_of_contract, rules.quanta_of_value = found.rows, found.quanta
            rules.spare, rules.alone = found.spare, found.alone
    state.venue_rulebook = venue
    if venue:
        state.house = state.rules[venue].house

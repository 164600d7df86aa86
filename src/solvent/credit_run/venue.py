"""The lender's venue on an engine: contracts, accounts and their books, prices, and close-outs.

Every counterparty's account is a subaccount of the member, which holds the other side of all that
they hold and whose contribution to the default fund makes their debts good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from solvent import publishing
from solvent.credit.agreement import Agreement
from solvent.engine.standing import standings, view
from solvent.engine.state import Account, Contract, Standing, State
from solvent.errors import BadInput, Problem, Reject, check
from solvent.feeds.credit import CreditFile
from solvent.host import Answer, Engine
from solvent.instruments import Instrument
from solvent.instruments.contract import moment_of
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.messages.commands import (
    CancelOrders,
    ContributeFund,
    Deposit,
    ImportBooks,
    OpenAccount,
    PlaceOrder,
    SetInputs,
    SettleExpiry,
)
from solvent.messages.fields import AccountKind, Command, OpeningPosition, Side
from solvent.tending.plans import Plan
from solvent.tending.prices import limit_ticks
from solvent.units import asset_decimals

ACTOR: Final = "credit desk"
RULEBOOK: Final = "credit-lines"
QUOTED_AT: Final = 0.005
"""How far from the mark the member quotes for what is closed out, as a share of it."""
SLIPPAGE: Final = 0.05
"""How far a close-out may trade: the default of `[liquidation.reduce]`."""


class Venue:
    """An engine, and the file's books on it.

    Attributes:
        time_ms: of the market that was published last. counts: commands by reject code.
        symbols: contracts that are listed: all that anybody holds.
    """

    def __init__(self, engine: Engine, told: CreditFile, opening: Snapshot) -> None:
        check(
            engine.state.log.sequence == 0, "an engine without a history", engine.state.log.sequence
        )
        self.engine, self.told = engine, told
        self.time_ms = int(opening.as_of_ms)
        self.counts: Counter[int] = Counter()
        self._asked = 0
        self.symbols = check_books(told, opening)
        self._open(opening)

    @property
    def state(self) -> State:
        """The books."""
        return self.engine.state

    def key(self) -> str:
        """A key that no command had."""
        self._asked += 1
        return f"c{self._asked}"

    def tell(self, commands: Iterable[Command]) -> list[Answer]:
        """Submit at this market's time."""
        told = list(commands)
        answers = self.engine.submit_all(told, times_ms=[self.time_ms] * len(told))
        self.counts.update(answer.code for answer in answers)
        return answers

    def must(self, commands: Iterable[Command]) -> None:
        """Submit what cannot be refused."""
        for answer in self.tell(commands):
            check(answer.accepted, "the desk's own commands are taken", answer.events)

    def account(self, name: str) -> Account:
        """An account by name."""
        return self.state.account(self.state.account_numbers[name])

    def standings(self, names: Sequence[str]) -> list[Standing]:
        """Where accounts stand."""
        return standings(self.state, [view(self.state, self.account(name)) for name in names])

    # ── opening ──────────────────────────────────────────────────────────────────────────────

    def _open(self, opening: Snapshot) -> None:
        market = self._restricted(opening)
        self.must(publishing.listings(market, actor=ACTOR))
        day = moment_of(opening.as_of_ms).date().isoformat()
        self.must([publishing.adoption(RULEBOOK, day=day, key="rules", actor=ACTOR, venue=True)])
        self.publish(opening)
        member = self.told.member
        names = [name for one in self.told.register.agreements.values() for name in one.accounts]
        self.must(
            [OpenAccount(key=self.key(), actor=ACTOR, account=member.name,
                         kind=AccountKind.MEMBER, rulebook=RULEBOOK)]
            + [OpenAccount(key=self.key(), actor=ACTOR, account=name, kind=AccountKind.USER,
                           rulebook=RULEBOOK, parent=member.name) for name in names]
        )  # fmt: skip
        assets = dict(self.state.assets)
        for name, money in [
            (member.name, {asset: member.money.get(asset, Decimal(0)) + member.fund.get(asset, 0)
                           for asset in {**member.money, **member.fund}}),
            *((one.name, one.money) for one in self.told.accounts.values()),
        ]:  # fmt: skip
            self.must(
                Deposit(key=self.key(), actor=ACTOR, account=name, asset=asset, amount=units)
                for asset, amount in money.items()
                if (units := int(amount.scaleb(assets[asset])))
            )
        self.must(
            ContributeFund(key=self.key(), actor=ACTOR, account=member.name, asset=asset,
                           amount=units)
            for asset, amount in member.fund.items()
            if (units := int(amount.scaleb(assets[asset])))
        )  # fmt: skip

    def take_over_books(self) -> None:
        """Positions as the file has them, entered at the marks; the member holds the other side."""
        rows: list[OpeningPosition] = []
        net: dict[str, int] = {}
        for agreement in self.told.register.agreements.values():
            for name in agreement.accounts:
                held = self.told.accounts.get(name)
                for symbol, size in (held.positions if held else {}).items():
                    contract = self._contract(symbol)
                    lots = int(size / Decimal(contract.listing.lot_size))
                    if lots:
                        rows.append(OpeningPosition(name, symbol, lots, contract.mark_points or 1))
                        net[symbol] = net.get(symbol, 0) + lots
        rows += [
            OpeningPosition(self.told.member.name, symbol, -lots,
                            self._contract(symbol).mark_points or 1)
            for symbol, lots in net.items() if lots
        ]  # fmt: skip
        self.must([ImportBooks(key=self.key(), actor=ACTOR, balances=(), positions=tuple(rows))])

    def _contract(self, symbol: str) -> Contract:
        return self.state.contracts[self.state.contract_numbers[symbol]]

    # ── markets ──────────────────────────────────────────────────────────────────────────────

    def _restricted(self, market: Snapshot) -> Snapshot:
        found = (market.universe.row(symbol) for symbol in self.symbols)
        return restricted(market, [row for row in found if row is not None])

    def publish(self, market: Snapshot) -> Snapshot:
        """Prices and arrays of a market, and what has expired by then settled at its index; the
        market of what is held."""
        self.time_ms = int(market.as_of_ms)
        mine = self._restricted(market)
        name = f"{self.time_ms}"
        self.must([publishing.market(mine, key=f"market {name}", actor=ACTOR)])
        rulebook = self.state.rules[RULEBOOK].rulebook
        self.must([publishing.arrays(mine, rulebook, name=RULEBOOK, key=f"arrays {name}",
                                     actor=ACTOR)])  # fmt: skip
        self.must(
            SettleExpiry(key=self.key(), actor=ACTOR, symbol=contract.listing.symbol,
                         price_nano=self.state.underlyings[contract.deal.underlying].price_nano)
            for contract in self.state.contracts
            if contract.deal.expiry_ms is not None and not contract.settled
            and contract.deal.expiry_ms <= self.time_ms
        )  # fmt: skip
        return mine

    def set_inputs(self, account: str, inputs: dict[str, str], reason: str) -> None:
        """Bring an account's numbers, if they are not what they were."""
        if (self.account(account).inputs or {}) != inputs:
            self.must([SetInputs(key=self.key(), actor=ACTOR, account=account, inputs=inputs,
                                 reason=reason)])  # fmt: skip

    def deposit(self, account: str, micro: int) -> None:
        """Dollars that have come."""
        amount = micro * 10 ** asset_decimals("USDC") // 10**6
        self.must([Deposit(key=self.key(), actor=ACTOR, account=account, asset="USDC",
                           amount=amount)])  # fmt: skip

    # ── closing out ──────────────────────────────────────────────────────────────────────────

    def close_out(self) -> list[Plan]:
        """Everything that is to be done about accounts that are short, with the member quoting for
        what must go; the plans that were carried out."""
        names = [one.name for one in self.state.accounts if one is not None and one.positions]
        names = [name for name in names if name != self.told.member.name]
        bad = [name for name, one in zip(names, self.standings(names), strict=True)
               if one.known and one.liquidate]  # fmt: skip
        self.tell(self._quotes(bad))
        done: list[Plan] = []
        self.engine.tend(time_ms=self.time_ms, watch=done.extend)
        if bad:
            self.must([CancelOrders(key=self.key(), actor=ACTOR, account=self.told.member.name)])
        return done

    def _quotes(self, names: Sequence[str]) -> Iterable[PlaceOrder]:
        wanted: Counter[tuple[int, bool]] = Counter()
        for name in names:
            for number, position in (self.account(name).positions or {}).items():
                if position.lots:
                    wanted[number, position.lots < 0] += abs(position.lots)
        for (number, buys), lots in wanted.items():
            contract = self.state.contracts[number]
            if contract.settled or not contract.mark_points:
                continue
            limit = limit_ticks(self.state, contract, SLIPPAGE, buys=buys)
            away = 1.0 + QUOTED_AT if buys else 1.0 - QUOTED_AT
            ticks = round(contract.mark_points / contract.deal.points_per_tick * away)
            key = self.key()
            yield PlaceOrder(
                key=key, actor=ACTOR, account=self.told.member.name, order=key,
                symbol=contract.listing.symbol, side=Side.SELL if buys else Side.BUY, lots=lots,
                price_ticks=min(max(1, ticks), limit) if buys else max(1, ticks, limit),
            )  # fmt: skip


def check_books(told: CreditFile, market: Snapshot) -> list[str]:
    """Contracts that anybody holds, and the perpetual of each underlying, in the market's order.

    Raises BadInput, before anything is done, for instruments and assets that the market does not
    have, sizes that are no whole lots, and underlyings that an agreement does not cover.
    """
    universe = market.universe
    assets = sorted({*universe.settlements, "USDC"})
    names = [*universe.symbols]
    wanted = {one for one in names if one.endswith("-PERPETUAL") and "_" not in one}
    for whose, money in [
        (told.member.name, {**told.member.money, **told.member.fund}),
        *((one.name, one.money) for one in told.accounts.values()),
    ]:
        for asset in money:
            if asset not in assets:
                raise _bad(told.source, f"{whose}.money", f"one of {', '.join(assets)}", asset)
    for agreement in told.register.agreements.values():
        for name in agreement.accounts:
            held = told.accounts.get(name)
            for symbol, size in (held.positions if held else {}).items():
                row = universe.row(symbol)
                if row is None or names[row] != symbol or not market.usable[row]:
                    expected = "an instrument of the market"
                    raise _bad(told.source, f"{name}.positions", expected, symbol)
                _check_position(told, agreement, name, universe.instruments[row], size)
                wanted.add(symbol)
    return [symbol for symbol in names if symbol in wanted]


def _check_position(
    told: CreditFile, agreement: Agreement, name: str, instrument: Instrument, size: Decimal
) -> None:
    base, lot = instrument.contract.base, instrument.specification.lot_size
    if agreement.underlyings and base not in agreement.underlyings:
        covered = ", ".join(sorted(agreement.underlyings))
        expected = f"underlyings under {agreement.name} ({covered})"
        raise _bad(told.source, f"{name}.positions", expected, base)
    if size % lot:
        where = f"{name}.positions.{instrument.symbol}"
        raise _bad(told.source, where, f"a multiple of {lot}", str(size))


def _bad(source: str, field: str, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.INPUT_INVALID, source=source, field=field, expected=expected,
                found=found)
    )  # fmt: skip

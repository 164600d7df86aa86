"""Commands that wind up accounts which cannot pay, made up from how things stand."""

from __future__ import annotations

from typing import Final

from solvent.account.ledger import FUND, INSURANCE, VENUE, margin_slot, node
from solvent.engine.state import Account, Contract, State
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, Command, CoverFrom, Share
from solvent.sim.draws import Draws
from solvent.sim.money import Draft


def begin_liquidation(draws: Draws, state: State) -> Command | None:
    """Of anybody: most can pay."""
    return c.BeginLiquidation(account=draws.holder(state).name, **draws.told())


def one_to_wind_up(draws: Draws, state: State) -> Account | None:
    """An account under liquidation; seldom any other."""
    found = draws.failing(state)
    return draws.account(state) if found is None and draws.often(0.02) else found


def _position(draws: Draws, state: State, account: Account) -> tuple[Contract, int] | None:
    """One of its positions, and how many lots of it."""
    if not account.positions:
        return (draws.contract(state), 1) if draws.often(0.05) else None
    number = draws.one(list(account.positions))
    held = account.positions[number].lots
    lots = abs(held) or 1
    lot = draws.rng.random()
    if lot < 0.3:
        lots = max(1, int(lots * draws.rng.random()))
    return state.contracts[number], lots + (lot > 0.97)


def closed_out(draws: Draws, state: State) -> tuple[Account, Contract, int] | None:
    """An account under liquidation, one of its contracts, and lots of it to close."""
    account = one_to_wind_up(draws, state)
    held = None if account is None else _position(draws, state, account)
    return None if account is None or held is None else (account, *held)


def liquidate(draws: Draws, state: State) -> Command | None:
    """Against anybody."""
    found = closed_out(draws, state)
    if found is None:
        return None
    account, contract, lots = found
    other = "insurance" if draws.often(0.1) else draws.account(state).name
    return c.Liquidate(
        account=account.name, counterparty=other, symbol=contract.listing.symbol, lots=lots,
        price_ticks=draws.ticks(contract), fee_ppm=draws.one((0, 500, 5_000, 1_000_000)),
        **draws.told(),
    )  # fmt: skip


def _taker(draws: Draws, state: State, often: float) -> str | None:
    """A backstop account, or none; seldom somebody who is none."""
    if not draws.often(often):
        return None
    kind = AccountKind.BACKSTOP
    found = [one.name for one in state.accounts if one is not None and one.kind == kind]
    return draws.one(found) if found and draws.often(0.95) else draws.account(state).name


def take_over(draws: Draws, state: State) -> Command | None:
    """By the fund, or a backstop account."""
    found = closed_out(draws, state)
    if found is None:
        return None
    account, contract, lots = found
    return c.TakeOver(
        account=account.name, symbol=contract.listing.symbol, lots=lots,
        price_ticks=draws.ticks(contract), by=_taker(draws, state, 0.4), **draws.told(),
    )  # fmt: skip


def deleverage(draws: Draws, state: State) -> Command | None:
    """Against one of the other side, if one is found."""
    found = closed_out(draws, state)
    if found is None:
        return None
    account, contract, lots = found
    mine = contract.holders.get(account.number)
    signed = mine.lots if mine is not None else 1
    others = [(n, abs(o.lots)) for n, o in contract.holders.items() if o.lots * signed < 0]
    other = draws.account(state).name
    if others and draws.often(0.95):
        number, most = draws.one(others)
        other, lots = state.account(number).name, min(lots, most)
    return c.Deleverage(
        account=account.name, counterparty=other, symbol=contract.listing.symbol,
        lots=max(1, lots), price_ticks=draws.ticks(contract), **draws.told(),
    )  # fmt: skip


def _debt(draws: Draws, state: State, *, owes: bool) -> tuple[Account, int, str | None, int] | None:
    """Account, asset, contract of its margin or none, and balance, of what an account under
    liquidation owes (or has)."""
    account = one_to_wind_up(draws, state)
    if account is None:
        return None
    found: list[tuple[Account, int, str | None, int]] = [
        (account, asset, None, draws.owned(state, account, asset))
        for asset in range(len(state.assets))
    ]
    for number in {**(account.modes or {}), **(account.positions or {})}:
        contract = state.contracts[number]
        asset = contract.deal.asset
        margin = state.ledger.balance(node(account.number, margin_slot(number), asset))
        found.append((account, asset, contract.listing.symbol, margin))
    wanted = [one for one in found if (one[3] < 0 if owes else one[3] > 0)]
    if not wanted:
        return draws.one(found) if draws.often(0.1) else None
    return draws.one(wanted)


def confiscate(draws: Draws, state: State) -> Command | None:
    """Something that it still has."""
    found = _debt(draws, state, owes=False)
    if found is None:
        return None
    account, asset, symbol, held = found
    if account.positions and symbol is None and draws.often(0.7):
        return None
    return c.Confiscate(
        account=account.name, asset=state.assets[asset][0], amount=draws.amount(held),
        symbol=symbol, to=_taker(draws, state, 0.2), **draws.told(),
    )  # fmt: skip


def cover_debt(draws: Draws, state: State) -> Command | None:
    """From one of the funds, mostly as far as it reaches."""
    found = _debt(draws, state, owes=True)
    if found is None:
        return None
    account, asset, symbol, held = found
    source = draws.one(tuple(CoverFrom))
    market = None
    member = draws.one(draws.world.members) if source is CoverFrom.MEMBER else None
    if source is CoverFrom.MEMBER:
        fund = node(state.account_numbers[member or ""], FUND, asset)
        if draws.often(0.05):
            member = draws.account(state).name
    elif source is CoverFrom.MARKET:
        funded = [
            one for one in state.contracts
            if state.ledger.balance(node(INSURANCE, margin_slot(one.number), one.deal.asset))
        ]  # fmt: skip
        contract = draws.one(funded) if funded else draws.contract(state)
        market, fund = contract.listing.symbol, node(INSURANCE, margin_slot(contract.number), asset)
    else:
        fund = node(INSURANCE if source is CoverFrom.INSURANCE else VENUE, 0, asset)
    there = state.ledger.balance(fund)
    amount = max(1, min(-held, there)) if draws.often(0.6) else draws.amount(max(-held, 1))
    return c.CoverDebt(
        account=account.name, asset=state.assets[asset][0], amount=amount, source=source,
        member=member, symbol=symbol, market=market, **draws.told(),
    )  # fmt: skip


def socialise_loss(draws: Draws, state: State) -> Command | None:
    """By some who have money, each a part."""
    found = _debt(draws, state, owes=True)
    if found is None:
        return None
    account, asset, symbol, held = found
    left, shares = max(-held, 1), []
    for _ in range(draws.rng.randrange(1, 5)):
        winner = draws.account(state)
        has = draws.owned(state, winner, asset)
        part = min(left, has) if draws.often(0.8) else min(left, has + 1)
        if part > 0 and (winner is not account or draws.often(0.1)):
            shares.append(Share(winner.name, max(1, part // draws.one((1, 1, 2, 100)))))
            left = max(0, left - part)
    return c.SocialiseLoss(
        account=account.name, asset=state.assets[asset][0], shares=tuple(shares), symbol=symbol,
        **draws.told(),
    )  # fmt: skip


def end_liquidation(draws: Draws, state: State) -> Command | None:
    """Of one that may be well again."""
    account = one_to_wind_up(draws, state)
    if account is None or (account.positions and draws.often(0.7)):
        return None
    return c.EndLiquidation(account=account.name, **draws.told())


DRAFTS: Final[dict[type[Command], Draft]] = {
    c.BeginLiquidation: begin_liquidation, c.Liquidate: liquidate, c.TakeOver: take_over,
    c.Deleverage: deleverage, c.Confiscate: confiscate, c.CoverDebt: cover_debt,
    c.SocialiseLoss: socialise_loss, c.EndLiquidation: end_liquidation,
}  # fmt: skip

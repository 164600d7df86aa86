"""Warnings and margin calls: told when somebody asks how an account stands, by its rulebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

from solvent.engine.refusal import account_named, check_active, check_known
from solvent.engine.standing import View, has_risk, standings
from solvent.engine.state import CROSS, LIQUIDATION, Account, Standing, State
from solvent.engine.wound_up import index_nano, nearest
from solvent.errors import Refused
from solvent.liquidation.calls import Asset, Call, Levels, Posting, cheapest_collateral, review
from solvent.margining.closing import CallsText
from solvent.messages.commands import ReviewMargin
from solvent.messages.events import CallEnded, Event, MarginCalled

NOTHING_AT_STAKE = Standing(0, 0, 0, True, False, False)


@cache
def levels_of(told: CallsText) -> Levels:
    """A rulebook's levels, exactly as written.

    >>> [str(one) for one in levels_of(CallsText()).distances]
    ['1/5', '1/10']
    """
    return Levels(
        distances=tuple(Fraction(repr(one)) for one in told.levels),
        hysteresis=Fraction(repr(told.hysteresis)), deadline_ms=told.deadline_ms,
        when_short=told.when == "short",
    )  # fmt: skip


def review_margin(state: State, command: ReviewMargin, events: list[Event]) -> None:
    """Say what has changed; nothing is said where nothing has. An account that is not known, or is
    under liquidation already, is not reviewed.

    An account is called once, for the pool of it that is nearest to liquidation: what it holds
    together, or one isolated contract. While it has a call its deadline stands, whichever pool it
    is about; and once that has what it lacks, the next one is looked at.
    """
    account = account_named(state, command.account)
    if account.status == LIQUIDATION:
        check_active(account)
    pool, seen, found = nearest(state, [account])[0]
    if not has_risk(seen):
        found = NOTHING_AT_STAKE
    check_known(account, found)
    was = state.calls.get(account.number)
    reviewed = review(
        was, equity_micro=found.equity_micro, initial_micro=found.initial_micro,
        maintenance_micro=found.maintenance_micro, time_ms=state.log.time_ms,
        levels=levels_of(state.rules[account.rulebook].closing.calls),
        credit_micro=found.credit_micro,
    )  # fmt: skip
    now = reviewed.call
    posting = None
    if now is not None:
        now = replace(now, pool=pool)
        if now.asks:
            posting = cheapest(state, account, seen, found, now.amount_micro, pool)
    # From here on it is told.
    if now is None:
        state.calls.pop(account.number, None)
    else:
        state.calls[account.number] = now
    if reviewed.ended:
        events.append(CallEnded(account.number, reviewed.ended))
    if now is not None and (was is None or _says_more(was, now)):
        asset, amount = posting or ("", 0)
        events.append(
            MarginCalled(
                account.number,
                now.level,
                now.amount_micro,
                asset,
                amount,
                now.deadline_ms or 0,
                pool,
            )
        )


def _says_more(was: Call, now: Call) -> bool:
    return now.level != was.level or now.amount_micro > was.amount_micro or now.pool != was.pool


def cheapest(
    state: State, account: Account, seen: View, found: Standing, amount_micro: int,
    pool: int = CROSS,
) -> Posting | None:  # fmt: skip
    """In which asset a call is met with the least: what each brings is tried out on the account's
    own margin, with as much of it as the call is worth at its index. The margin of an isolated
    contract is in what it settles in."""
    probes = _probes(state, account, seen, amount_micro, pool)
    views = [one for *_, one in probes]
    assets = []
    for (asset, amount, unit_micro, _), after in zip(probes, standings(state, views), strict=True):
        brings = Fraction(after.equity_micro - found.equity_micro if after.known else 0)
        haircut = min(max(1 - brings / (amount * unit_micro), Fraction(0)), Fraction(1))
        assets.append(Asset(state.assets[asset][0], unit_micro, haircut, Fraction(0)))
    return cheapest_collateral(amount_micro, assets)


def _probes(
    state: State, account: Account, seen: View, amount_micro: int, pool: int
) -> list[tuple[int, int, Fraction, View]]:
    """(asset, as much of it as a call is worth, millionths of a dollar a unit, the account with
    it) of every asset that has a price."""
    found = []
    only = None if pool == CROSS else state.contracts[pool].deal.asset
    for asset, (_, decimals) in enumerate(state.assets):
        if only not in (None, asset):
            continue
        try:
            price = index_nano(state, asset, fresh=False)
        except Refused:
            continue
        unit_micro = Fraction(price, 1_000 * 10**decimals)
        amount = -(-amount_micro * unit_micro.denominator // unit_micro.numerator)
        owned, margins = dict(seen.balances), dict(seen.margins)
        place, where = (owned, asset) if only is None else (margins, pool)
        place[where] = place.get(where, 0) + amount
        after = View(account, seen.positions, owned, margins, seen.orders, seen.modes, seen.sides)
        found.append((asset, amount, unit_micro, after))
    return found


def foreseen(state: State, accounts: Sequence[Account]) -> None:
    """Work out together what reviews of many accounts ask one by one, so that it is remembered;
    changes nothing else."""
    asked: list[View] = []
    for pool, seen, found in nearest(state, accounts):
        if not found.known:
            continue
        account = seen.account
        reviewed = review(
            state.calls.get(account.number), equity_micro=found.equity_micro,
            initial_micro=found.initial_micro, maintenance_micro=found.maintenance_micro,
            time_ms=state.log.time_ms,
            levels=levels_of(state.rules[account.rulebook].closing.calls),
        )  # fmt: skip
        if reviewed.call is not None and reviewed.call.asks:
            probes = _probes(state, account, seen, reviewed.call.amount_micro, pool)
            asked += [one for *_, one in probes]
    standings(state, asked)

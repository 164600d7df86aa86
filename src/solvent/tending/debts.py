"""What is left when a pool holds nothing any more: a debt that others pay, in a fixed order, or
money that goes back to its owner.

Fund before you spend: what the account still has in other assets is turned into what it owes first;
then the fund of the contract, the insurance fund, a member's contribution and the venue's own money
pay as far as they reach, and what nobody has paid is shared. What even that does not reach stays a
debt and is told.
"""

from __future__ import annotations

import math
from fractions import Fraction

from solvent.account.ledger import FIRST_ACCOUNT, FUND, GENERAL, VENUE, node
from solvent.engine.fund import unrealised
from solvent.engine.state import CLOSED, LIQUIDATION, Account, State
from solvent.engine.wound_up import index_nano
from solvent.errors import Refused
from solvent.liquidation.fund import Draw, Source, draw
from solvent.liquidation.socialise import by_gains
from solvent.margining.closing import LiquidationText
from solvent.messages import commands as c
from solvent.messages.fields import AccountKind, CoverFrom, Share
from solvent.tending import funds
from solvent.tending.fills import money_of
from solvent.tending.plans import Plan, Row, row
from solvent.tending.pools import Pool, rules_of, symbol_of

SHARES_MAX = 10_000
"""Who shares a loss in one command: the largest, where there are more."""


def planned(state: State, pool: Pool) -> Plan | None:
    """All that pays the debts of a pool that holds nothing; None where it has none."""
    closing = rules_of(state, pool.account).closing
    rows: list[Row] = []
    left: list[str] = []
    touched = set()
    for asset, (name, _) in enumerate(state.assets):
        debt = -money_of(state, pool.account, asset, pool.contract)
        if debt <= 0 or (pool.contract is not None and _settles(state, pool) != asset):
            continue
        touched.add(("fund", asset))
        if pool.contract is None:
            more, paid = _converted(state, pool.account, asset, debt)
            rows += more
            debt -= paid
            touched |= {("fund", other) for other in range(len(state.assets))}
        drawn = draw(debt, [source for source, _ in _sources(state, pool, asset, closing)])
        by_name = {source.name: fields for source, fields in _sources(state, pool, asset, closing)}
        rows += [
            _cover(state, pool, asset, one, by_name[one.name]) for one in drawn.rows if one.paid
        ]
        debt = drawn.uncovered
        if debt and "socialise" in closing.stages:
            one, debt = _socialised(state, pool, asset, debt, closing)
            rows += one
        if debt:
            left.append(f"{debt:,} units of {name}")
    if not rows and not left:
        return None
    return Plan(
        account=pool.account.name, stage="debt", rule="debts are paid in a fixed order",
        rows=tuple(rows), pool=symbol_of(state, pool), equity_micro=pool.found.equity_micro,
        maintenance_micro=pool.found.maintenance_micro, touches=frozenset(touched),
        open=f"nobody pays {', '.join(left)}" if left else "",
    )  # fmt: skip


def _settles(state: State, pool: Pool) -> int:
    return state.contracts[pool.number].deal.asset


# ── its own other money ──────────────────────────────────────────────────────────────────────────


def _converted(state: State, account: Account, into: int, debt: int) -> tuple[list[Row], int]:
    """The insurance fund buys other assets of an account with what it owes, as far as the fund has
    it: at the index, less what half an hour of a market may cost. Rounded against the account by
    less than a smallest unit."""
    rows: list[Row] = []
    paid = 0
    pool = funds.money(state, into)
    for asset, (name, _) in enumerate(state.assets):
        held = state.ledger.balance(node(account.number, GENERAL, asset))
        wanted = min(debt, pool) - paid
        if asset == into or held <= 0 or wanted <= 0:
            continue
        rate = _rate(state, asset, into)
        if rate is None:
            continue
        gets = min(wanted, math.floor(held * rate))
        if gets <= 0:
            continue
        gives = min(held, math.ceil(gets / rate))
        paid += gets
        rows.append(
            row(
                f"its {name} pays {gets:,} units of what it owes",
                c.ConvertCollateral, account=account.name, asset=name, amount=gives,
                into=state.assets[into][0], into_amount=gets,
            )
        )  # fmt: skip
    return rows, paid


def _rate(state: State, asset: int, into: int) -> Fraction | None:
    """Smallest units of one asset for one of another at the indices; None where one is not known or
    too old."""
    try:
        price, other = (index_nano(state, one, fresh=True) for one in (asset, into))
    except Refused:
        return None
    scale = Fraction(10 ** state.assets[into][1], 10 ** state.assets[asset][1])
    return Fraction(price, other) * scale


# ── funds ────────────────────────────────────────────────────────────────────────────────────────

Fields = dict[str, object]


def _sources(
    state: State, pool: Pool, asset: int, closing: LiquidationText
) -> list[tuple[Source, Fields]]:
    """Who pays, first to last, with what each holds."""
    found: list[tuple[Source, Fields]] = []
    if pool.contract is not None and closing.fund.scope == "market":
        contract = state.contracts[pool.contract]
        held = funds.market_money(state, contract)
        fields: Fields = {"source": CoverFrom.MARKET, "market": contract.listing.symbol}
        found.append((Source("the fund of the contract", held), fields))
    held = funds.payable(state, asset)
    found.append((Source("the insurance fund", held), {"source": CoverFrom.INSURANCE}))
    member = _member_of(state, pool.account)
    if member is not None:
        held = state.ledger.balance(node(member.number, FUND, asset))
        told: Fields = {"source": CoverFrom.MEMBER, "member": member.name}
        found.insert(0, (Source(f"the contribution of {member.name}", held), told))
    held = state.ledger.balance(node(VENUE, GENERAL, asset))
    found.append((Source("the venue", held), {"source": CoverFrom.VENUE}))
    return found


def _member_of(state: State, account: Account) -> Account | None:
    """The member that answers for an account: itself, or whose client it is."""
    if account.kind == AccountKind.MEMBER:
        return account
    if account.parent >= FIRST_ACCOUNT:
        parent = state.account(account.parent)
        if parent.kind == AccountKind.MEMBER:
            return parent
    return None


def _cover(state: State, pool: Pool, asset: int, one: Draw, fields: Fields) -> Row:
    symbol = symbol_of(state, pool) or None
    return row(
        f"{one.name} pays {one.paid:,}; {one.balance:,} stay in it, {one.left:,} are left to pay",
        c.CoverDebt, account=pool.account.name, asset=state.assets[asset][0], amount=one.paid,
        symbol=symbol, **fields,
    )  # fmt: skip


# ── all others ───────────────────────────────────────────────────────────────────────────────────


def _socialised(
    state: State, pool: Pool, asset: int, debt: int, closing: LiquidationText
) -> tuple[list[Row], int]:
    """Who has gained shares the loss, or who has cash; and what is left of it."""
    account, claims = pool.account, list[tuple[str, int]]()
    for one in state.accounts[FIRST_ACCOUNT:]:
        if one is None or one is account or one.status in (LIQUIDATION, CLOSED):
            continue
        cash = state.ledger.balance(node(one.number, GENERAL, asset))
        if closing.socialise == "gains":
            cash = min(cash, gain_of(state, one, asset))
        if cash > 0:
            claims.append((one.name, cash))
    claims = sorted(claims, key=lambda one: -one[1])[:SHARES_MAX]
    shared = by_gains(debt, [cash for _, cash in claims])
    shares = tuple(
        Share(name, amount) for (name, _), amount in zip(claims, shared.paid, strict=True) if amount
    )
    if not shares:
        return [], debt
    who = "who has gained" if closing.socialise == "gains" else "who has cash"
    paid = debt - shared.uncovered
    told = row(
        f"{len(shares):,} of {who} share {paid:,}", c.SocialiseLoss, account=account.name,
        asset=state.assets[asset][0], shares=shares, symbol=symbol_of(state, pool) or None,
    )  # fmt: skip
    return [told], shared.uncovered


def gain_of(state: State, account: Account, asset: int) -> int:
    """What an account has gained in the contracts that it holds and that settle in an asset: paid
    out, and at the marks, less what it has given of it for others' losses; rounded down."""
    found = unrealised(state, account, asset) - (account.given or {}).get(asset, 0)
    for number, position in (account.positions or {}).items():
        if state.contracts[number].deal.asset == asset:
            found += position.realised
    return found

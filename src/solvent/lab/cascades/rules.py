"""Rulebooks of the three families, as text: what a policy search varies, in the same language as
every other rulebook. And the agents' own, which asks for next to nothing."""

from __future__ import annotations

from typing import Final

from solvent.feeds.library import rulebook_source
from solvent.lab.cascades.settings import Rules

HOUSE: Final = "agents"
"""By what agents that are no leveraged holders are margined; the venue settles by it, too."""
BRACKETS: Final = ((0, 1.0), (100_000, 1.25), (500_000, 2.0), (2_000_000, 4.0))
"""Tiers: dollars of notional from which on so many times the margin of a small position counts."""
_PACES: Final = {
    "whole": 'way = "whole"',
    "minimum": 'way = "minimum"\ntarget = "initial"',
    "slow": 'way = "blocks"\nblock_share = 0.25\ntarget = "initial"\ncooldown_ms = 60_000',
}
_COLLATERAL: Final = """
[[collateral]]
asset   = "USDC"
haircut = 0.0
price   = "par"
source  = "the numeraire"
"""
_COIN: Final = """
[[collateral]]
asset   = "{coin}"
haircut = 0.1
price   = "index"
source  = "a tenth off, as most venues' rulebooks have it"
"""
_GRID: Final = """
schema  = 1
name    = "{name}"
title   = "{title}"
venue   = "any"
summary = "The worst loss on a grid of prices; longs and shorts of several coins offset in part."
sources = ["docs/cascades.md"]

[parameters]
range       = {range!r}
maintenance = {maintenance!r}
offset      = {offset!r}

[engine]
age_ms_max = {age_ms}

[scenarios.price]
moves = ["-range", "-2 * range / 3", "-range / 3", "range / 3", "2 * range / 3", "range"]

[nodes.group]
by        = ["underlying", "settlement"]
numeraire = "settlement"

[nodes.together]
by        = ["settlement"]
numeraire = "settlement"

[nodes.whole]
by        = []
numeraire = "dollar"

[scans.apart]
scenarios = ["price"]
node      = "group"
into      = "whole"

[scans.joint]
scenarios = ["price"]
node      = "together"
into      = "whole"

[requirement]
node        = "whole"
let.needed  = "(1 - offset) * apart + offset * joint"
initial     = "needed"
maintenance = "maintenance * needed"
"""
_TIERS: Final = """
schema  = 2
name    = "tiers"
title   = "Fixed tiers"
venue   = "any"
family  = "tiered leverage"
summary = "Each position by its notional: a rate by bracket, nothing is offset."
sources = ["docs/cascades.md"]
properties = ["requirement_not_negative", "permutes"]

[parameters]
margin      = {margin!r}
keep        = {maintenance!r}     # maintenance over initial margin

[engine]
age_ms_max = {age_ms}

[levels]
contract = ["pool", "instrument"]

[inputs.pool.isolated_margin]
about   = "margin put to an isolated position, in dollars"
default = 0

[at.asset]
value = "min(amount * price, amount * price * accepted.share)"

[at.position]
notional   = "abs(size) * contract_size * mark"
needed     = "marginal(tier.times, notional) * margin * settlement_price"
unrealised = "size * contract_size * (mark - entry_price) * settlement_price"

[at.order]
notional = "size * contract_size * price"

[at.contract]
position    = "position.sum(notional * sign(size))"
bids        = "order.sum(notional * buy)"
asks        = "order.sum(notional * (1 - buy))"
exposed     = "max(position.sum(notional), max(abs(position + bids), abs(position - asks)))"
initial     = "marginal(tier.times, exposed) * margin"
maintenance = "keep * position.sum(needed)"

[at.pool]
equity      = "asset.sum(value) + isolated_margin + contract.sum(position.sum(unrealised))"
initial     = "contract.sum(initial)"
maintenance = "contract.sum(maintenance)"

[answer]
level = "pool"

[tables.accepted]
by    = "asset"
about = "share of an asset that counts"

[[tables.accepted.rows]]
keys      = ["USDC"]
effective = 2020-01-01
source    = "the numeraire"
values    = {{ share = 1 }}

[[tables.accepted.rows]]
keys      = ["*"]
effective = 2020-01-01
source    = "a tenth off, as most venues' rulebooks have it"
values    = {{ share = 0.9 }}

[tables.tier]
by    = "instrument"
about = "brackets of notional in dollars, and times the margin of a small position"

[[tables.tier.rows]]
keys      = ["*"]
effective = 2020-01-01
source    = "docs/cascades.md"

[tables.tier.rows.values]
above = [{above}]
times = [{times}]
"""
_LIQUIDATION: Final = """
[liquidation]
stages = ["book", "fund", "adl", "socialise"]

[liquidation.calls]
levels = [0.1]

[liquidation.reduce]
{pace}

[liquidation.fund]
reserve = 0.05

[liquidation.fund.disposal]
every_ms   = 60_000
fraction   = 0.2
book_share = 0.25
slippage   = 0.05
"""


def text_of(rules: Rules, *, coins: tuple[str, ...], range_: float | None = None) -> str:
    """The rulebook by which holders are margined, as text.

    Args:
        coins: underlyings that count as collateral, less a tenth.
        range_: the grid's range, where it moves; the rules' own margin if not told.

    Raises RulebookError for a rulebook that does not ship.
    """
    if rules.rulebook is not None:
        return rulebook_source(rules.rulebook)
    closing = _LIQUIDATION.format(pace=_PACES[rules.pace])
    if rules.family == "tiers":
        found = _TIERS.format(
            margin=rules.margin, maintenance=rules.maintenance, age_ms=_AGE_MS,
            above=", ".join(str(one) for one, _ in BRACKETS),
            times=", ".join(str(one) for _, one in BRACKETS),
        )  # fmt: skip
        return found + closing
    title = "A grid that follows volatility" if rules.family == "dynamic" else "A grid of prices"
    found = _GRID.format(
        name=rules.family, title=title, range=rules.margin if range_ is None else range_,
        maintenance=rules.maintenance, offset=rules.offset, age_ms=_AGE_MS,
    )  # fmt: skip
    return found + _COLLATERAL + "".join(_COIN.format(coin=one) for one in coins) + closing


def is_bounded(rules: Rules) -> bool:
    """Whether what `distances` needs is known of rules: no position is asked more for than it is
    worth, and calls begin no higher than at a fifth of equity over maintenance margin."""
    steepest = max(times for _, times in BRACKETS) if rules.family == "tiers" else 1.0
    return rules.rulebook is None and steepest * rules.margin * rules.maintenance <= 1.0


def house_text(rules: Rules) -> str:
    """The agents' rulebook: a grid of 1 %. The venue's own ways with money are those of the rules
    on trial where they are a family's."""
    found = _GRID.format(
        name=HOUSE, title="Agents", range=0.01, maintenance=0.5, offset=1.0, age_ms=_AGE_MS
    )
    return found + _COLLATERAL + _LIQUIDATION.format(pace=_PACES[rules.pace])


_AGE_MS: Final = 11 * 86_400_000
"""The agents' arrays are published at every tenth step, which may be a day long."""

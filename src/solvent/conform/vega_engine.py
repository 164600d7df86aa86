"""Cases of Vega through the engine: commands in, balances and events out.

Each kind tells a little venue (`vega_venue`) what its case begins with, lets happen what happens,
and reads what came of it off the ledger, the positions and the events. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from solvent.conform import vega_flows
from solvent.conform.case import Row
from solvent.conform.vega_venue import (
    PARTY,
    PLENTY,
    POOL,
    Found,
    Venue,
    above,
    exact,
    outcome,
    parameters,
)
from solvent.messages.events import Rejected

LEVELS: Final = ("maintenance", "search", "initial", "release")


@dataclass(frozen=True, slots=True)
class Way:
    """How a kind of case is told as commands: what it may tell and ask, and what tells it."""

    inputs: frozenset[str]
    finds: frozenset[str]
    run: Callable[[Row], Found | None]

    def knows(self, row: Row) -> bool:
        """Whether nothing is told or asked that would be passed over."""
        told, asked = set(row["inputs"]), set(row["expected"])
        return told <= self.inputs and asked <= self.finds


# ── margin levels ────────────────────────────────────────────────────────────────────────────────


def _cross(given: Row) -> Found:
    """Levels by the engine's own sheet; orders fill the margin account to initial, for which the
    party must have just as much."""
    held, mark = exact(given["open_volume"]), given["mark_price"]
    sides = {True: exact(given["buy_orders"]), False: exact(given["sell_orders"])}
    orders = [(buy, size) for buy, size in sides.items() if size]

    def stood(funds: int) -> tuple[Venue, bool]:
        venue = Venue(prices=[mark], sizes=[held, *sides.values()], parameters=parameters(given))
        venue.hold((PARTY, held), at=mark)
        venue.mark(mark)
        venue.deposit(PARTY, funds)
        names = [venue.order(PARTY, buy=buy, size=size, price=mark) for buy, size in orders]
        venue.settle()
        return venue, None not in names

    venue, accepted = stood(PLENTY)
    levels = venue.amounts(*LEVELS)
    initial = levels["initial"]
    wrong = [] if accepted else ["orders: expected to be taken with plenty of money"]
    margin = venue.balances(PARTY)[0]
    if margin != initial:
        wrong.append(f"margin account: expected initial, {initial}, found {margin}")
    only_reduces = all(size <= (-held if buy else held) for buy, size in orders)
    for funds, enough in ((initial, True), (initial - 1, only_reduces)):
        if funds >= 0 and stood(funds)[1] is not enough:
            wrong.append(f"orders with {funds}, initial {initial}: expected taken: {enough}")
    return outcome(levels, venue, wrong=tuple(wrong))


def _collateralised(given: Row) -> Found:
    """Orders are (price, size)."""
    entry = given["average_entry_price"]
    orders = [(buy, price, size) for buy, side in ((True, "buys"), (False, "sells"))
              for price, size in given[side]]  # fmt: skip
    venue = Venue(
        prices=[entry, *(price for _, price, _ in orders)],
        sizes=[given["open_volume"], *(size for _, _, size in orders)],
        parameters=parameters(given, fully_collateralised=1),
    )
    venue.deposit(PARTY, PLENTY)
    venue.hold((PARTY, given["open_volume"]), at=entry)
    taken = [venue.order(PARTY, buy=buy, size=size, price=price) for buy, price, size in orders]
    levels = venue.amounts(*LEVELS)
    wrong = ("orders: expected to be taken with plenty of money",) if None in taken else ()
    return outcome({**levels, "margin": levels["maintenance"]}, venue, wrong=wrong)


# ── isolated mode ────────────────────────────────────────────────────────────────────────────────


def _market(given: Row, *, prices: list[Any], sizes: list[Any], **more: Any) -> Venue:
    """A market for a case with orders, and a party with plenty."""
    orders = given.get("orders", [])
    venue = Venue(
        prices=[*prices, *(one["price"] for one in orders)],
        sizes=[given["open_volume"], *sizes, *(one["size"] for one in orders)],
        parameters=parameters(given, **more),
    )
    venue.deposit(PARTY, PLENTY)
    return venue


def _place(venue: Venue, given: Row) -> list[str | None]:
    return [
        venue.order(PARTY, buy=one["side"] == "buy", size=one["size"], price=one["price"])
        for one in given.get("orders", [])
    ]


def _stand(venue: Venue, given: Row) -> None:
    """Balances as the case tells them; untold margin is none, and untold general is plenty."""
    venue.stand(
        PARTY,
        margin=given.get("margin_balance", 0),
        orders=given.get("order_margin_balance", 0),
        general=given.get("general_balance"),
    )


def _only(values: Mapping[str, Any], venue: Venue, *, factor: Any) -> dict[str, Any]:
    """Values, and the levels."""
    return {**values, **venue.amounts(*LEVELS, factor=factor)}


def _switch(given: Row) -> Found:
    """Into isolated mode with a position and orders of cross mode."""
    mark, entry, factor = given["mark_price"], given["average_entry_price"], given["margin_factor"]
    venue = _market(given, prices=[mark, entry], sizes=[])
    venue.hold((PARTY, given["open_volume"]), at=entry)
    venue.mark(mark)
    wrong = ("orders: expected to be taken",) if None in _place(venue, given) else ()
    _stand(venue, given)
    accepted = venue.isolate(factor)
    margin, orders, general = venue.balances(PARTY)
    values = {"accepted": accepted, "margin_balance": margin, "order_margin": orders,
              "general_balance": general}  # fmt: skip
    return outcome(_only(values, venue, factor=factor), venue, wrong=wrong)


def _isolated_at(venue: Venue, given: Row, mark: Any, *, held: Any) -> tuple[str, ...]:
    """Begin a position that is isolated, settled at the mark; what went wrong with it."""
    venue.mark(mark)
    allowed = venue.isolate(given.get("margin_factor", above(given)))
    venue.hold((PARTY, held), at=mark)
    return () if allowed else ("isolated mode: expected to be allowed",)


def _order_margin(given: Row) -> Found:
    """Orders of an isolated position, one by one."""
    orders = given.get("orders", [])
    mark = given.get("mark_price", orders[0]["price"] if orders else 1)
    indicative = given.get("indicative_price", mark)
    venue = _market(given, prices=[mark, indicative], sizes=[])
    wrong = _isolated_at(venue, given, mark, held=given["open_volume"])
    if exact(given.get("auction", 0)):
        venue.auction(on=True)
    _stand(venue, given)
    taken = _place(venue, given)
    accepted, reserved = None not in taken, venue.balances(PARTY)[1]
    if not accepted:
        refused = [
            {**one, "buy": one["side"] == "buy"}
            for one, name in zip(orders, taken, strict=True)
            if name is None
        ]
        reserved = venue.amounts("order_margin", orders=refused)["order_margin"]
    values = {"order_margin": reserved, "accepted": accepted}
    return outcome(values, venue, wrong=wrong)


def _fill(given: Row) -> Found | None:
    """A fill out of the order margin where one is told, else out of the general account.

    Fills at several prices are one to the venue, and are rounded once; the engine is told each
    trade by itself, so of those it is not asked.
    """
    fills = given["fills"] if "fills" in given else [given["fill"]]
    price, buy = fills[0]["price"], fills[0]["side"] == "buy"
    if any((exact(one["price"]), one["side"] == "buy") != (exact(price), buy) for one in fills):
        return None
    size = sum((exact(one["size"]) for one in fills), Fraction(0))
    mark = given.get("mark_price", price)
    venue = _market(given, prices=[mark, price], sizes=[one["size"] for one in fills])
    wrong = _isolated_at(venue, given, mark, held=given["open_volume"])
    order = None
    if "order_margin_balance" in given:
        # The order is larger than what is filled of it, so that some of it stays.
        order = venue.order(PARTY, buy=buy, size=2 * size, price=price)
        wrong += () if order else ("order: expected to be taken",)
    _stand(venue, given)
    answer = venue.trade(PARTY, size=size if buy else -size, price=price, order=order)
    margin, orders, general = venue.balances(PARTY)
    accepted = not isinstance(answer[0], Rejected)
    values = {"accepted": accepted, "margin_balance": margin, "order_margin_balance": orders,
              "general_balance": general}  # fmt: skip
    return outcome(_only(values, venue, factor=None), venue, wrong=wrong)


def _isolated_mark(given: Row) -> Found:
    """A new mark; then the position is closed out if it is distressed."""
    before, mark = given["prev_mark"], given["mark"]
    venue = _market(given, prices=[before, mark], sizes=[])
    venue.deposit(POOL, given.get("insurance_pool", 0))
    wrong = _isolated_at(venue, given, before, held=given["open_volume"])
    venue.settle()
    _stand(venue, given)
    venue.mark(mark)
    venue.settle()
    levels = _only({}, venue, factor=None)
    closed = venue.close_out(mark)
    margin, _, general = venue.balances(PARTY)
    values = {"closed_out": closed, "margin_balance": margin, "general_balance": general,
              "insurance_pool": venue.pool()}  # fmt: skip
    return outcome({**values, **levels}, venue, wrong=wrong)


# ── kinds of cases ───────────────────────────────────────────────────────────────────────────────


def _way(inputs: str, finds: str, run: Callable[[Row], Found | None]) -> Way:
    return Way(frozenset(inputs.split()), frozenset(finds.split()), run)


_RISK: Final = (
    "mark_price risk_factor_long risk_factor_short linear_slippage_factor scaling "
    "quadratic_slippage_factor funding_per_unit margin_funding_factor "
)
_BALANCES: Final = "margin_balance general_balance order_margin_balance "
_ASKED: Final = "maintenance search initial release "
_FILLS: Final = _way(
    _RISK + _BALANCES + "open_volume fill fills margin_factor",
    _ASKED + _BALANCES + "accepted",
    _fill,
)
_TRADE: Final = "price size maker infrastructure liquidity"
_CHARGED: Final = "maker infrastructure liquidity total"
WAYS: Final[Mapping[str, Way]] = {
    "cross_margin_levels": _way(_RISK + "open_volume buy_orders sell_orders", _ASKED, _cross),
    "isolated_switch": _way(
        _RISK + _BALANCES + "open_volume average_entry_price margin_factor orders",
        _ASKED + "accepted margin_balance general_balance order_margin",
        _switch,
    ),
    "isolated_order_margin": _way(
        _RISK + _BALANCES + "open_volume margin_factor orders auction indicative_price",
        "order_margin accepted",
        _order_margin,
    ),
    "isolated_increase": _FILLS,
    "isolated_reduce": _FILLS,
    "isolated_flip": _FILLS,
    "isolated_mtm": _way(
        _BALANCES + "open_volume prev_mark mark insurance_pool risk_factor linear_slippage_factor",
        _ASKED + "closed_out margin_balance general_balance insurance_pool",
        _isolated_mark,
    ),
    "mtm_settlement": _way(
        "prev_open_volume prev_mark trades mark", "settlement", vega_flows.settlement
    ),
    "network_mtm": _way(
        "network_position prev_mark mark insurance_pool",
        "insurance_pool network_position",
        vega_flows.network_mark,
    ),
    "closeout": _way(
        "party_margin party_general position prev_mark mark insurance_pool risk_factor "
        "risk_factor_long risk_factor_short linear_slippage_factor",
        "party_margin party_general insurance_pool network_position",
        vega_flows.closed_out,
    ),
    "network_disposal": _way(
        "network_position disposal_fraction full_disposal_size max_fraction_consumed "
        "available_volume",
        "disposals",
        vega_flows.disposed,
    ),
    "loss_socialisation": _way(
        "losses wins insurance_pool", "paid insurance_pool", vega_flows.shared_loss
    ),
    "fully_collateralised": _way(
        "max_price open_volume average_entry_price buys sells", _ASKED + "margin", _collateralised
    ),
    "fees_continuous": _way(_TRADE, _CHARGED, vega_flows.fees),
    "fees_auction": _way(
        _TRADE, _CHARGED, lambda given: vega_flows.fees(given, auction=True)
    ),
    "funding_twap": _way("period_minutes initial observations", "twap", vega_flows.average),
    "funding_twap_auction": _way(
        "period_minutes initial observations auction", "twap", vega_flows.average
    ),
    "funding_payment": _way(
        "f_twap s_twap delta_t interest_rate clamp_lower clamp_upper scaling_factor rate_lower "
        "rate_upper auction_fraction",
        "funding_payment funding_rate",
        vega_flows.payment,
    ),
}  # fmt: skip
"""Kind of case → how it goes through the engine."""

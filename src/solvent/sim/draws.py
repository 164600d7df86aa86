"""Lots: what a history is made of, drawn from one seed, and what it has come to so far.

Each history switches a part of everything off and skews the rest, so that what rarely comes
together does so in some.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeVar

from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, node
from solvent.engine.state import CLOSED, LIQUIDATION, Account, Contract, State
from solvent.limits import MONEY_MAX
from solvent.messages import commands as c
from solvent.messages.fields import Command
from solvent.sim.worlds import ACTOR, COINS, MOVES, World
from solvent.units import DAY_MS, MINUTE_MS

T = TypeVar("T")
WEIGHTS: Final[dict[type[Command], float]] = {
    c.ListAsset: 0.02, c.ListInstrument: 0.3, c.DelistInstrument: 0.2, c.SetPhase: 0.5,
    c.AdoptRulebook: 0.05, c.AssignRulebook: 0.7,
    c.OpenAccount: 0.5, c.CloseAccount: 0.7, c.FreezeAccount: 0.3, c.UnfreezeAccount: 0.6,
    c.SetMarginMode: 2.0, c.SetLeverage: 1.0, c.AddIsolatedMargin: 1.5,
    c.RemoveIsolatedMargin: 1.5,
    c.Deposit: 6.0, c.AnnounceDeposit: 3.0, c.ConfirmDeposit: 2.0, c.CancelDeposit: 1.0,
    c.RequestWithdrawal: 2.0, c.ConfirmWithdrawal: 1.5, c.CancelWithdrawal: 1.0,
    c.Transfer: 2.0, c.ContributeFund: 0.5, c.ReturnFund: 0.5,
    c.PlaceOrder: 20.0, c.AmendOrder: 5.0, c.CancelOrder: 5.0, c.CancelOrders: 0.5,
    c.Disconnect: 0.3, c.SetProtection: 0.5, c.ResetProtection: 0.5, c.ListCombo: 0.3,
    c.ReportBlock: 1.0, c.WithdrawBlock: 0.3, c.RelieveMargin: 0.5, c.Trade: 30.0,
    c.PublishMarket: 0.6, c.PublishArrays: 0.15, c.PayFunding: 1.0, c.SettleVariation: 1.0,
    c.SettleExpiry: 1.0, c.AccrueInterest: 0.4, c.Heartbeat: 1.0,
    c.BeginLiquidation: 1.0, c.Liquidate: 3.0, c.TakeOver: 2.0, c.Deleverage: 2.0,
    c.Confiscate: 1.0, c.CoverDebt: 2.0, c.SocialiseLoss: 1.0, c.EndLiquidation: 1.5,
    c.ImportBooks: 0.6, c.ReviewMargin: 1.0, c.LiquidateInBook: 3.0, c.SetBackstop: 0.4,
    c.ConvertCollateral: 1.0, c.FundMarket: 0.4, c.StartAuction: 1.5, c.BidInAuction: 2.0,
    c.EndAuction: 0.7, c.PortAccount: 0.4, c.SetInputs: 0.5,
}  # fmt: skip
"""How often a command is tried where nothing is skewed."""
ORDERS: Final = (
    c.PlaceOrder, c.AmendOrder, c.CancelOrder, c.CancelOrders, c.Disconnect, c.SetProtection,
    c.ResetProtection, c.ListCombo, c.ReportBlock, c.WithdrawBlock, c.RelieveMargin,
)  # fmt: skip
"""Commands that some histories have none of."""
FEATURES: Final = (
    "market", "ioc", "fok", "gtd", "post_only", "reduce_only", "display", "stop", "group",
    "session", "self_trade", "amend_price", "amend_lots", "cross",
)  # fmt: skip
"""What orders of a history may ask for; `cross` is a price that meets what rests."""
_PACES: Final[tuple[tuple[int, ...], ...]] = (
    (0, 1, 5, 20),
    (0, 1, 50, 1_000, 5_000),
    (0, 10, 1_000, MINUTE_MS),
    (0, 1, 100, 10 * MINUTE_MS, 60 * MINUTE_MS),
)
_FAR_MS: Final = 100 * DAY_MS
"""Expiries beyond this are not waited for."""
_PAST: Final = 500
"""Commands that may be told again."""
_PLACED: Final = 200
_CALM: Final = (c.Deposit, c.Trade, c.Trade)
_CALM_ORDERS: Final = (c.PlaceOrder, c.PlaceOrder, c.PlaceOrder, c.AmendOrder, c.CancelOrder)


class Draws:
    """One history's lots.

    Attributes:
        blind: how often one thing in a command is put wrong. again: how often an old one is told
            again. reach: how many of `MOVES` its prices make.
        calm: how often a stretch is of trades and deposits alone, or of orders.
        features: what its orders may ask for, each in a `share` of them. spread: they are mostly
            for one contract in so many. placed: accounts and names of the last of them.
        moves: where the two coins stand, in `MOVES`.
        due: commands that what happened calls for. later: those that wait until an account is
            under liquidation, which it may be after this batch.
        alarmed: prices have moved, and nobody has looked who cannot pay.
        focus: an account that is being wound up, or −1.
    """

    def __init__(self, rng: Random, world: World) -> None:
        self.rng = rng
        self.world = world
        self.blind = rng.choice((0.0, 0.02, 0.1, 0.4))
        self.again = rng.choice((0.0, 0.005, 0.05))
        self.reach = rng.choice((1, 3, 5, 7, len(MOVES)))
        self.pace = rng.choice(_PACES)
        self.days = rng.choice((0.0, 0.0, 0.001, 0.0001))
        self.size = rng.choice((500, 2_000, 20_000, 200_000))
        self.stale = rng.choice((0.0, 0.0, 0.2))
        self.greed = rng.choice((0.1, 0.5, 0.9))
        kinds = [kind for kind in WEIGHTS if rng.random() < 0.8]
        if rng.random() < 0.15:
            kinds = [kind for kind in kinds if kind not in ORDERS]
        self.features = {name for name in FEATURES if rng.random() < 0.65}
        self.share = rng.choice((0.1, 0.1, 0.3, 0.6))
        self.spread = rng.choice((1, 3, 5))
        self.kinds = kinds or [c.Heartbeat]
        weights = [WEIGHTS[kind] * rng.choice((0.2, 1.0, 1.0, 4.0)) for kind in self.kinds]
        self.weights = weights
        self.calm = rng.choice((0.0, 0.5, 0.9, 0.95))
        self.left = 0
        self.calmly: tuple[type[Command], ...] = ()
        self.moves = [1.0, 1.0]
        self.alarmed = False
        self.focus = -1
        self.count = 0
        self.due: deque[Callable[[State], Command | None]] = deque()
        self.later: list[tuple[int, Callable[[State], Command | None]]] = []
        self.past: deque[Command] = deque(maxlen=_PAST)
        self.placed: deque[tuple[str, str]] = deque(maxlen=_PLACED)
        self.references: list[str] = []

    def kind(self) -> type[Command]:
        """What comes next. There are stretches of trades and deposits alone, of orders, and
        stretches of everything."""
        if self.left <= 0:
            self.left = self.rng.choice((20, 100, 500))
            self.calmly = ()
            if self.often(self.calm):
                orders = self.does(c.PlaceOrder) and self.often(0.5)
                self.calmly = _CALM_ORDERS if orders else _CALM
        self.left -= 1
        if self.calmly:
            return self.one(self.calmly)
        return self.rng.choices(self.kinds, self.weights)[0]

    def does(self, kind: type[Command]) -> bool:
        """Whether this history has commands of a kind."""
        return kind in self.kinds

    def often(self, share: float) -> bool:
        """True in so many of all cases."""
        return self.rng.random() < share

    def has(self, feature: str) -> bool:
        """Whether an order of this history asks for it now."""
        return feature in self.features and self.rng.random() < self.share

    def one(self, among: Sequence[T]) -> T:
        """One of some."""
        return among[int(self.rng.random() * len(among))]

    def told(self) -> dict[str, Any]:
        """Actor and key of a new command."""
        self.count += 1
        return {"key": str(self.count), "actor": ACTOR}

    def new(self, what: str) -> str:
        """A name that was not used before."""
        self.count += 1
        return f"{what}-{self.count}"

    def step_ms(self, state: State) -> int:
        """How much later the next command comes: mostly little, sometimes to an expiry, seldom
        days."""
        lot = self.rng.random()
        if lot < self.days:
            return self.rng.choice((DAY_MS, 3 * DAY_MS + 1, 60 * MINUTE_MS))
        if lot > 1.0 - self.days:
            now = state.log.time_ms
            expiries = [one.deal.expiry_ms for one in state.contracts if not one.settled]
            ahead = [at for at in expiries if at is not None and now <= at <= now + _FAR_MS]
            return max(0, min(ahead) - now + self.rng.choice((-1, 0, 1))) if ahead else 0
        return self.one(self.pace)

    # ── who and what ─────────────────────────────────────────────────────────────────────────

    def account(self, state: State) -> Account:
        """A user's account, mostly one that is not closed."""
        accounts, found = state.accounts, None
        for _ in range(4):
            found = accounts[self.rng.randrange(FIRST_ACCOUNT, len(accounts))]
            if found is not None and found.status != CLOSED:
                return found
        if found is None:
            raise LookupError("a history begins with accounts")
        return found

    def holder(self, state: State) -> Account:
        """An account, if possible one that holds something."""
        for _ in range(4):
            found = self.account(state)
            if found.positions:
                return found
        return self.account(state)

    def failing(self, state: State) -> Account | None:
        """An account under liquidation, mostly the one that is being wound up."""
        one = state.accounts[self.focus] if self.focus >= 0 else None
        if one is not None and one.status == LIQUIDATION and self.often(0.8):
            return one
        found = [one for one in state.accounts if one is not None and one.status == LIQUIDATION]
        return self.one(found) if found else None

    def contract(self, state: State) -> Contract:
        """A contract, mostly one that is not over."""
        found = state.contracts[int(self.rng.random() * len(state.contracts))]
        for _ in range(6):
            if not found.settled:
                return found
            found = state.contracts[int(self.rng.random() * len(state.contracts))]
        return found

    def asset(self, state: State) -> int:
        """An asset by number, mostly the first."""
        return 0 if self.often(0.7) else int(self.rng.random() * len(state.assets))

    def owned(self, state: State, account: Account, asset: int) -> int:
        """What an account has of an asset itself."""
        return state.ledger.balance(node(account.number, GENERAL, asset))

    # ── how much ─────────────────────────────────────────────────────────────────────────────

    def amount(self, there: int) -> int:
        """An amount at or near an edge of what there is, or within it."""
        lot = self.rng.random()
        if lot < 0.7:
            found = int(self.rng.random() ** 3 * there)
        elif lot < 0.8:
            found = there
        elif lot < 0.9:
            found = there + self.rng.choice((-1, 1))
        else:
            found = self.rng.choice((1, 2, there // 2, 2 * there, MONEY_MAX // 4, MONEY_MAX))
        return min(max(1, found), MONEY_MAX)

    def lots(self, contract: Contract) -> int:
        """Lots of a size that the world's accounts can mostly bear."""
        deal = contract.deal
        price = 1.0 if deal.inverse and not deal.up_front else COINS.get(deal.underlying, 100.0)
        most = max(1, int(self.size / (float(deal.lot_size) * price)))
        lot = self.rng.random()
        return 1 if lot < 0.1 else max(1, int(lot**3 * most))

    def ticks(self, contract: Contract) -> int:
        """A price at the mark or near it, seldom far from it."""
        points = contract.mark_points or 1_000
        ticks = max(1, points // contract.deal.points_per_tick)
        lot = self.rng.random()
        if lot < 0.5:
            return ticks
        if lot < 0.93:
            return max(1, int(ticks * (0.995 + 0.01 * self.rng.random())))
        return max(1, int(ticks * self.rng.choice((0.001, 0.5, 0.9, 1.1, 2.0, 1_000.0))))

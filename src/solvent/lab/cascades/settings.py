"""What a cascade is made of: the market, the agents, the holders, the rules and the shock.

Everything has a default, so that `{}` is a venue of 2,000 accounts through a crash. Where the
defaults are from is told in docs/cascades.md; `measured.py` says what the data shows beside them.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.wording import expected, unreadable

ACCOUNTS_MAX: Final = 100_000
STEPS_MAX: Final = 100_000
"""Moments of one run."""
COMMANDS_MAX: Final = 5_000_000
"""Orders and other commands that one run may tell its venues."""
VENUES_MAX: Final = 5
LADDER_MAX: Final = 40

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Positive = Annotated[float, Field(gt=0.0)]
_Name = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,12}$")]
Family = Literal["tiers", "grid", "dynamic"]
Pace = Literal["whole", "minimum", "slow"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Coin(_Part):
    """An underlying.

    Attributes:
        price: dollars at the opening. day_vol: daily deviation of log returns. weight: its part of
            all open interest, beside the other coins' weights. turnover: daily volume over that.
        common: share of the variance of its noise that all coins have in common.
    """

    price: _Positive
    day_vol: float = Field(gt=0.0, le=1.0)
    weight: _Positive = 1.0
    turnover: _Positive = 1.5
    common: _Share = 0.8


KNOWN: Final[dict[str, Coin]] = {
    "BTC": Coin(price=113_000.0, day_vol=0.0229, weight=1.0),
    "ETH": Coin(price=4_100.0, day_vol=0.0378, weight=0.6),
    "SOL": Coin(price=205.0, day_vol=0.0459, weight=0.3),
    "XRP": Coin(price=2.75, day_vol=0.0466, weight=0.2),
    "DOGE": Coin(price=0.235, day_vol=0.0511, weight=0.2),
}
"""Deviations of 15-minute returns of 2025, times the root of 96 (`solvent cascade facts`)."""


class Agents(_Part):
    """Who trades besides the leveraged holders, by how much.

    Flows are in deviations of the fair price: a flow of 1 moves the price by one deviation of a
    step. `noise` is news and whim and moves the fair price; `trend` follows the past hour; `hedge`
    sells into falls as short options must; `value` buys below the fair price; `arbitrage` closes
    this share of the gap between venues.

    Attributes:
        tail: degrees of freedom of the noise's law. impact: Y of the square-root law.
        depth: dollars within 1 % of the mark in calm, a share of the daily volume. shape: exponent
            of what rests up to a distance. spread: from the mark to the first quote.
        reach: from the mark to the last. ladder: prices a side.
        recovery_min: minutes after which half of a book that was consumed has come back.
        fast_min, slow_min: half-lives of the two volatilities that makers look at. fast, slow:
            their weights; the rest stands at the usual volatility.
        withdraw: exponent with which depth falls as volatility rises over its usual size.
    """

    noise: float = Field(default=1.0, ge=0.0, le=10.0)
    trend: float = Field(default=0.15, ge=0.0, le=5.0)
    hedge: float = Field(default=0.10, ge=0.0, le=5.0)
    value: float = Field(default=0.15, ge=0.0, le=5.0)
    arbitrage: _Share = 0.5
    tail: float = Field(default=4.0, gt=2.0)
    impact: float = Field(default=1.35, gt=0.0, le=20.0)
    depth: float = Field(default=0.01, gt=0.0, le=1.0)
    shape: float = Field(default=0.8, gt=0.1, le=4.0)
    spread: float = Field(default=0.0002, gt=0.0, lt=0.05)
    reach: float = Field(default=0.04, gt=0.0, lt=0.5)
    ladder: int = Field(default=8, ge=1, le=LADDER_MAX)
    recovery_min: _Positive = 5.0
    fast_min: _Positive = 45.0
    slow_min: _Positive = 1_440.0
    fast: _Share = 0.55
    slow: _Share = 0.35
    withdraw: float = Field(default=1.0, ge=0.0, le=4.0)

    @model_validator(mode="after")
    def _stays(self) -> Self:
        if self.fast + self.slow >= 1.0:
            raise ValueError(f"`fast` and `slow` below 1 together, or volatility never comes back; "
                             f"found {self.fast + self.slow:g}")  # fmt: skip
        return self


class Holders(_Part):
    """Leveraged accounts.

    Attributes:
        leverage: the median; 0 for a market without any. spread: deviation of its logarithm.
            highest: nobody asks for more. longs: share of those with one position that are long.
        several: share that holds more than one coin. deposits: chance that a call is met at once.
        shared: share that is at every venue, and moves money to where it is called.
        coins_owned: share that brings coins of the first underlying as collateral for half of it.
        interest: dollars of open interest of all venues and coins together.
    """

    leverage: float = Field(default=4.0, ge=0.0, le=200.0)
    spread: float = Field(default=0.6, ge=0.0, le=2.0)
    highest: float = Field(default=50.0, gt=0.0, le=500.0)
    longs: _Share = 0.75
    several: _Share = 0.25
    deposits: _Share = 0.1
    shared: _Share = 0.3
    coins_owned: _Share = 0.0
    interest: float = Field(default=2e8, gt=1e4, le=1e11)


class Rules(_Part):
    """By what holders are margined, and what happens to those who cannot pay.

    Attributes:
        family: `tiers` by size, a `grid` of prices with offsets between coins, or a `dynamic` grid
            whose range follows volatility. margin: initial margin of a small position, a share.
        maintenance: a share of initial margin. offset: of a grid, how much of what coins would need
            apart another's gain may cover.
        rulebook: a shipped one (or a file) instead of a family. pace: `whole` (all at once),
            `minimum` (the fewest lots that restore initial margin) or `slow` (a quarter of each
            position a minute).
        day: whose version of the rulebook. fund: what the insurance fund has, a share of open
            interest.
    """

    family: Family = "grid"
    margin: float = Field(default=0.05, gt=0.001, lt=1.0)
    maintenance: float = Field(default=0.6, gt=0.0, le=1.0)
    offset: _Share = 0.6
    pace: Pace = "minimum"
    fund: float = Field(default=0.0025, ge=0.0, le=1.0)
    rulebook: str | None = None
    day: str = "2025-10-10"


class Shock(_Part):
    """News: the fair price falls by `move` (−0.1: to 90 %), in `over` steps from step `at` on; of
    one `coin`, or of all by their betas; at one `venue`, the first is 0 (its index is wrong), or at
    all."""

    move: float = Field(default=-0.065, gt=-0.95, lt=5.0)
    at: int = Field(default=5, ge=0)
    over: int = Field(default=15, ge=1)
    coin: str | None = None
    venue: int | None = None


class Settings(_Part):
    """One venue or several, and their market; `steps` moments of `step_s` seconds each."""

    coins: tuple[_Name, ...] = ("BTC", "ETH")
    markets: dict[str, Coin] = Field(default_factory=dict)
    venues: int = Field(default=1, ge=1, le=VENUES_MAX)
    accounts: int = Field(default=2_000, ge=2, le=ACCOUNTS_MAX)
    steps: int = Field(default=60, ge=2, le=STEPS_MAX)
    step_s: int = Field(default=60, ge=1, le=86_400)
    agents: Agents = Agents()
    holders: Holders = Holders()
    rules: Rules = Rules()
    shock: Shock = Shock()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.coins or len(set(self.coins)) < len(self.coins):
            raise ValueError(f"`coins` one or more, each once, found {self.coins}")
        for coin in self.coins:
            if coin not in KNOWN and coin not in self.markets:
                known = ", ".join(sorted({*KNOWN, *self.markets}))
                raise ValueError(f"`coins` of {known}, or one with a table markets.{coin}; "
                                 f"found the unknown underlying {coin}")  # fmt: skip
        if self.shock.coin is not None and self.shock.coin not in self.coins:
            raise ValueError(f"`shock.coin` one of {', '.join(self.coins)}, found the unknown "
                             f"underlying {self.shock.coin}")  # fmt: skip
        if self.shock.venue is not None and not 0 <= self.shock.venue < self.venues:
            raise ValueError(f"`shock.venue` from 0 to {self.venues - 1}, found {self.shock.venue}")
        if self.shock.move and self.shock.at + self.shock.over > self.steps:
            raise ValueError(f"a shock that ends within {self.steps} steps, found one until "
                             f"{self.shock.at + self.shock.over}")  # fmt: skip
        if self.commands > COMMANDS_MAX:
            raise ValueError(f"at most {COMMANDS_MAX:,} orders in a run, found up to "
                             f"{self.commands:,}; take fewer `steps` or `ladder`")  # fmt: skip
        return self

    @property
    def commands(self) -> int:
        """Orders and accounts that a run comes to, without liquidations."""
        rungs = 2 * self.agents.ladder + 8
        return self.accounts + self.steps * self.venues * len(self.coins) * rungs

    def market(self, coin: str) -> Coin:
        """A coin's market, as told or as known."""
        return self.markets.get(coin) or KNOWN[coin]

    @property
    def digest(self) -> str:
        """A name for these settings: equal settings have equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def but(self, **changes: object) -> Settings:
        """These with some fields changed; of a part by `part__field`.

        >>> Settings().but(steps=20, rules__margin=0.1, shock__over=5).rules.margin
        0.1
        """
        told = self.model_dump()
        for name, value in changes.items():
            part, _, field = name.partition("__")
            if field:
                told[part][field] = value
            else:
                told[name] = value
        return settings_of(told, source="settings")


def settings_of(told: object, *, source: str) -> Settings:
    """Settings from a document. Raises BadInput that lists all that is wrong with it."""
    try:
        return Settings.model_validate(told)
    except ValidationError as fault:
        problems = [
            Problem(
                code=Reject.INPUT_INVALID, source=source, expected=_expected(one),
                found=_found(one["msg"], one["input"]),
                field=".".join(map(str, one["loc"])) or None,
            )
            for one in fault.errors()
        ]  # fmt: skip
        raise BadInput(*problems) from None


def read_settings(path: Path) -> Settings:
    """Settings from a TOML file. Raises BadInput for one that cannot be read or used."""
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise BadInput(
            Problem(code=Reject.SOURCE_UNREADABLE, source=str(path), expected="settings as TOML",
                    found=unreadable(fault))
        ) from fault  # fmt: skip
    return settings_of(told, source=str(path))


def _expected(error: Mapping[str, Any]) -> str:
    return expected(error, Settings).split(", found")[0].split("; found")[0]


def _found(message: str, value: object) -> str:
    for mark in ("; found ", ", found "):
        if mark in message:
            return message.split(mark, 1)[1]
    return repr(value)[:80]

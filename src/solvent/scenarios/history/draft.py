"""The set of one date, step by step: standardised windows, stand-ins, correlation, today's size.

Between its steps a draft is a matrix [window, factor] of returns over their own day's volatility.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.instruments.contract import moment_of
from solvent.scenarios.history import dependence
from solvent.scenarios.history.grid import SHAPES, Bool, Grid
from solvent.scenarios.history.note import Built, Note, refused
from solvent.scenarios.history.sigma import Sigma
from solvent.scenarios.history.spec import HistorySpec, Proxy
from solvent.scenarios.history.stand_in import draws, fill
from solvent.scenarios.history.surface import State, at_fixed_strike
from solvent.scenarios.history.windows import Points, weigh
from solvent.scenarios.joint import JointShocks
from solvent.units import DAY_MS, Float64, TimeMs

MOVE_MIN = -0.99
"""A relative return that scaling would take to −100 % or beyond stands here, and is told."""
_FORGOTTEN = 1e-6
"""Steps whose weight in today's correlation is below are left out."""
_ROWS_MIN = 60


@dataclass(slots=True, kw_only=True)
class Draft:
    """A set in the making.

    Attributes:
        last: the point of the date.
        ends: [window] point at which it ends.
        z: [window, factor] return over its own day's deviation, times what the bounds of the
            ratio take off; without a filter the return itself.
        have: [window, factor] whether it is known.
        size: [factor] today's deviation over the margin period; 1 without a filter.
    """

    spec: HistorySpec
    names: tuple[str, ...]
    grid: Grid
    sigma: Sigma
    source: str
    last: int
    ends: Points
    z: Float64
    have: Bool
    size: Float64
    notes: list[Note] = field(default_factory=list)

    @classmethod
    def of(
        cls, spec: HistorySpec, names: tuple[str, ...], grid: Grid, sigma: Sigma,
        *, source: str, last: int, ends: Points,
    ) -> Draft:  # fmt: skip
        """The windows of a date, standardised."""
        starts = ends - spec.span_steps
        move = grid.value[ends] - grid.value[starts]
        have = grid.known[ends] & grid.known[starts]
        if spec.returns == "relative":
            prices = np.array([kind == "price" for kind in grid.kinds])
            move[:, prices] = np.expm1(move[:, prices])
        move[~have] = 0.0
        growth = math.sqrt(round(spec.mpor_hours / spec.step_hours) / spec.span_steps)
        draft = cls(
            spec=spec, names=names, grid=grid, sigma=sigma, source=source, last=last, ends=ends,
            z=move * growth, have=have, size=np.ones(len(grid.kinds)),
        )  # fmt: skip
        draft._note_marks()
        if spec.filter != "none":
            draft._filter(starts, growth)
        return draft

    def finish(self) -> Built:
        """The set, and every note."""
        core = self._carried([one for one in self._prices() if self._proxy(one) is None])
        self._keep(self._usable(core), core)
        for proxy in self.spec.stand_ins:
            self._stand_in(proxy)
        self._surface_windows()
        weight = self._weights(core)
        if self.spec.correlation:
            self._correlate(weight)
        if self.spec.centred:
            self.z -= weight @ self.z
        scaled = self.z * self.size
        moves = [self._moves(name, scaled) for name in self.names]
        if self.spec.mirrored:
            scaled, weight = np.concatenate([scaled, -scaled]), np.tile(weight / 2.0, 2)
            moves = [np.concatenate([one, -one]) for one in moves]
        return self._built(moves, scaled, weight)

    # ── windows ──────────────────────────────────────────────────────────────────────────────────

    def _filter(self, starts: Points, growth: float) -> None:
        spec, sigma = self.spec, self.sigma
        then = sigma.then[starts] * growth
        self.size = sigma.current[self.last].copy()
        known = sigma.known[starts] & (then > 0.0)
        ratio = np.divide(self.size, then, out=np.ones_like(then), where=known)
        bounded = np.clip(ratio, spec.ratio_min, spec.ratio_max)
        usable = known & (self.size > 0.0)
        self.z = np.divide(self.z * bounded, self.size, out=np.zeros_like(then), where=usable)
        for place in self._prices():
            unknown = int((self.have[:, place] & ~known[:, place]).sum())
            self._note("no-volatility", place, unknown, "windows before its volatility is known")
            capped = int((usable & self.have & (ratio != bounded))[:, place].sum())
            self._note("ratio-bounded", place, capped, "windows have a bounded volatility ratio")
        self.have &= usable

    def _carried(self, core: Sequence[int]) -> list[int]:
        """Coins without a proxy whose history carries a set.

        Where the spec lists its coins, one that does not is an error; else it is left out by name.
        """
        factors = {factor for proxy in self.spec.stand_ins for factor in proxy.factors}
        found = {place: self._lacks(place) for place in core}
        carried = [place for place in core if found[place] is None]
        for place, lack in found.items():
            coin = self.grid.coins[place]
            if lack is None:
                continue
            if self.spec.underlyings or coin in factors or not carried:
                raise refused(self.source, coin, expected=lack[0], found=lack[1])
            count = int(self.have[:, place].sum())
            self.names = tuple(name for name in self.names if name != coin)
            self.have[:, [one == coin for one in self.grid.coins]] = False
            words = f"windows of its own; left out: expected {lack[0]}, found {lack[1]}"
            text = f"{count} {words}"
            self.notes.append(Note(code="coin-left-out", subject=coin, count=count, text=text))
        return carried

    def _lacks(self, place: int) -> tuple[str, str] | None:
        """What a coin's history should have and what it has; None where it carries a set."""
        spec, have = self.spec, self.have[:, place]
        if not self.grid.known[self.last, place]:
            when = moment_of(TimeMs(int(self.grid.time_ms[self.last])))
            expected = f"a price within {spec.gap_hours_max:g} h before {when:%Y-%m-%d %H:%M}"
            return expected, "an older one, or none"
        if spec.filter != "none" and not self.sigma.known[self.last, place]:
            found = int(self.grid.stepped[: self.last + 1, place].sum())
            words = f"returns of {spec.burn_in_days:g} days to start its volatility"
            return words, f"{found} returns"
        if spec.filter != "none" and self.size[place] <= 0.0:
            return "a price that moves", "a constant one"
        if int(have.sum()) < max(spec.min_observations, 1):
            words = f"{spec.min_observations} windows of {spec.mpor_hours:g} h"
            return words, f"{int(have.sum())}"
        if not self.z[have, place].any():
            return "a price that moves", f"a constant one in {int(have.sum())} windows"
        return None

    def _usable(self, core: Sequence[int]) -> Bool:
        """[window] whether every coin that has no proxy is known in it."""
        usable: Bool = np.asarray(self.have[:, core].all(axis=1))
        for place in core:
            lost = int((~self.have[:, place]).sum())
            self._note("window-left-out", place, lost, "windows lack its price or volatility")
        if self.spec.outliers == "drop":
            seen = np.cumsum(self.grid.outlier, axis=0)
            hit = seen[self.ends] > seen[self.ends - self.spec.span_steps]
            usable &= ~hit[:, core].any(axis=1)
            self.have &= ~hit
        if self.spec.surfaces and self.spec.surface_missing == "drop":
            for coin in self.names:
                shapes = self._shapes(coin)
                if shapes and self.grid.known[: self.last + 1, shapes[0]].any():
                    usable &= np.asarray(self.have[:, shapes].all(axis=1))
        return usable

    def _keep(self, usable: Bool, core: Sequence[int]) -> None:
        spec, count = self.spec, int(usable.sum())
        if count < max(spec.min_observations, 1):
            known = self.have.sum(axis=0)
            least = min(core, key=lambda place: int(known[place]))
            raise refused(
                self.source, self.grid.coins[least],
                expected=f"{spec.min_observations} windows of {spec.mpor_hours:g} h that all have",
                found=f"{count}",
            )  # fmt: skip
        self.ends, self.z, self.have = self.ends[usable], self.z[usable], self.have[usable]
        if spec.overlapping:
            apart = -(-count * spec.every_steps // spec.span_steps)
            text = f"{count} windows overlap: as many as {apart} side by side"
            self.notes.append(Note(code="overlapping", subject="", count=count, text=text))

    def _weights(self, core: Sequence[int]) -> Float64:
        spec, sigma = self.spec, self.sigma
        log_ratio = np.zeros(len(self.ends))
        if spec.weights in ("volatility", "both"):
            starts = self.ends - spec.span_steps
            then = np.where(sigma.known[starts], sigma.variance[starts], 0.0)[:, core]
            now = sigma.variance[self.last, core]
            known = (then > 0.0) & (now > 0.0)
            ratio = np.divide(now, then, out=np.ones_like(then), where=known)
            log_ratio = 0.5 * np.log(ratio).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            lost = int((~known.all(axis=1)).sum())
            self._note(
                "weight-unknown", None, lost, "windows are weighted as if as volatile as today"
            )
        age_ms = self.grid.time_ms[self.last] - self.grid.time_ms[self.ends]
        weight = weigh(spec, age_ms=age_ms, log_ratio=log_ratio)
        if spec.weights != "equal":
            worth = int(1.0 / float((weight**2).sum()))
            text = f"{len(weight)} weighted windows are worth {worth} equal ones"
            self.notes.append(Note(code="weighted", subject="", count=worth, text=text))
        return weight

    # ── what stands in ───────────────────────────────────────────────────────────────────────────

    def _stand_in(self, proxy: Proxy) -> None:
        """Betas that are estimated, in standardised returns; told ones wait until `_moves`."""
        place = self.grid.column("price", proxy.name)
        if place is None or proxy.beta:
            if not proxy.beta:
                raise refused(self.source, proxy.name, expected="prices, or betas told",
                              found="neither")  # fmt: skip
            return
        have = self.have[:, place]
        if have.all():
            return
        if int(have.sum()) < proxy.overlap_min:
            raise refused(
                self.source, proxy.name, found=f"{int(have.sum())}",
                expected=f"{proxy.overlap_min} windows with its own prices, or betas told",
            )  # fmt: skip
        factors = [self._column("price", one) for one in proxy.factors]
        target = self.z[:, [place]]
        drawn = draws(self.grid.time_ms[self.ends], self.spec.seed)
        fit = fill(target, have, self.z[:, factors], drawn, residual=proxy.residual)
        self.z[:, place] = target[:, 0]
        beta = ", ".join(
            f"{b:.2f} {one}" for b, one in zip(fit.coefficient[:, 0], proxy.factors, strict=True)
        )
        words = f"windows are {beta} in deviations, which explains {fit.explained[0]:.0%}"
        self._note("proxy", place, int((~have).sum()), words)
        self.have[:, place] = True

    def _surface_windows(self) -> None:
        """Shifts of surfaces and of bases in windows that have none."""
        for coin in self.names:
            basis = self.grid.column("basis", coin)
            if self.spec.basis and (basis is None or not self.have[:, basis].all()):
                lost = int(len(self.ends) if basis is None else (~self.have[:, basis]).sum())
                self._note("basis-zero", coin, lost, "windows have no basis: it does not move")
            shapes, price = self._shapes(coin), self.grid.column("price", coin)
            if not self.spec.surfaces or price is None:
                continue
            if not shapes or not self.grid.known[: self.last + 1, shapes[0]].any():
                self._note("surface-none", coin, len(self.ends), "windows: it never had a surface")
                continue
            have = np.asarray(self.have[:, shapes].all(axis=1))
            self.have[:, shapes] = have[:, None]
            if have.all() or self.spec.surface_missing != "regress":
                self._note("surface-zero", coin, int((~have).sum()), "windows have no surface move")
                continue
            if int(have.sum()) < _ROWS_MIN:
                words = f"windows have no surface move: {int(have.sum())} are too few to regress on"
                self._note("surface-zero", coin, int((~have).sum()), words)
                continue
            own = self.z[:, price]
            target = self.z[:, shapes]
            drawn = draws(self.grid.time_ms[self.ends], self.spec.seed)
            regressor = np.stack([np.ones_like(own), own, np.abs(own)], axis=1)
            fit = fill(target, have, regressor, drawn, residual="bootstrap")
            self.z[:, shapes], self.have[:, shapes] = target, True
            share = ", ".join(f"{s:.0%} of {n}" for s, n in zip(fit.explained, SHAPES, strict=True))
            words = f"windows have a surface move by regression, which explains {share}"
            self._note("surface-regressed", coin, int((~have).sum()), words)

    # ── correlation ──────────────────────────────────────────────────────────────────────────────

    def _correlate(self, weight: Float64) -> None:
        spec, grid, sigma = self.spec, self.grid, self.sigma
        decay = spec.correlation_decay ** (spec.step_ms / DAY_MS)
        reach = min(self.last, math.ceil(math.log(_FORGOTTEN) / math.log(decay)))
        rows = np.arange(self.last - reach + 1, self.last + 1)
        good = grid.stepped[rows] & sigma.known[rows - 1] & (sigma.variance[rows - 1] > 0.0)
        whole = self.have.all(axis=0) & (self.z != 0.0).any(axis=0)
        chosen = [place for place in np.flatnonzero(whole) if self._told(int(place)) is None]
        enough = max(_ROWS_MIN, 3 * len(chosen))
        for place in [one for one in chosen if good[:, one].sum() < enough]:
            chosen.remove(place)
            words = "steps are too few for today's correlation: its own stays"
            self._note("correlation-own", int(place), int(good[:, place].sum()), words)
        together = good[:, chosen].all(axis=1)
        if int(together.sum()) < enough or len(chosen) < 2:
            words = "steps are known together, too few for today's correlation: it stays"
            text = f"{int(together.sum())} {words}"
            self.notes.append(Note(code="correlation-unscaled", subject="",
                                   count=int(together.sum()), text=text))  # fmt: skip
            return
        rows = rows[together]
        steps = grid.step[np.ix_(rows, chosen)] / np.sqrt(sigma.variance[np.ix_(rows - 1, chosen)])
        _, today = dependence.second_moments(steps, decay ** (self.last - rows))
        size, source = dependence.second_moments(self.z[:, chosen], weight)
        today, shrunk_today = dependence.regular(today)
        source, shrunk = dependence.regular(source)
        if shrunk or shrunk_today:
            words = "factors repeat each other: their correlation is shrunk to one that can be used"
            self._note("correlation-repaired", None, len(chosen), words)
        carry = dependence.transport(source, today)
        self.z[:, chosen] = ((self.z[:, chosen] / size) @ carry) * size

    # ── the set ──────────────────────────────────────────────────────────────────────────────────

    def _moves(self, coin: str, scaled: Float64) -> Float64:
        """[window] return of a coin over the margin period, as its spec tells returns."""
        place = self.grid.column("price", coin)
        proxy = next((one for one in self.spec.stand_ins if one.name == coin), None)
        if proxy is None or not proxy.beta:
            return scaled[:, self._column("price", coin)]
        factors = [self._column("price", one) for one in proxy.factors]
        part = scaled[:, factors] @ np.array(proxy.beta)
        chosen = (draws(self.grid.time_ms[self.ends], self.spec.seed) * len(part)).astype(np.intp)
        stands = part + proxy.residual_ratio * part[chosen]
        if proxy.residual == "none":
            stands = part
        own = self.have[:, place] if place is not None else np.zeros(len(part), dtype=bool)
        beta = ", ".join(f"{b:g} {one}" for b, one in zip(proxy.beta, proxy.factors, strict=True))
        self._note("proxy-told", coin, int((~own).sum()), f"windows are {beta}, as told")
        return stands if place is None else np.where(own, scaled[:, place], stands)

    def _built(self, moves: list[Float64], scaled: Float64, weight: Float64) -> Built:
        shape = (len(self.names), len(weight))
        move, basis = np.stack(moves), np.zeros(shape)
        if self.spec.returns == "log":
            move = np.expm1(move)
        low = int((move < MOVE_MIN).sum())
        self._note("move-bounded", None, low, f"moves are held at {MOVE_MIN:.0%}")
        move = np.maximum(move, MOVE_MIN)
        shifts = np.zeros((3, *shape))
        for row, coin in enumerate(self.names):
            place = self.grid.column("basis", coin)
            if place is not None:
                basis[row] = np.where(self._mirror(self.have[:, place]), scaled[:, place], 0.0)
            if self.spec.surfaces and (shapes := self._shapes(coin)):
                shifts[:, row] = self._surface(coin, shapes, scaled, np.log1p(move[row])).T
        times = self.grid.time_ms[self.ends]
        shocks = JointShocks(
            name=self.spec.name, underlyings=self.names, move=move,
            level=shifts[0], skew=shifts[1], term=shifts[2], basis=basis,
            weight=weight, time_ms=self._mirror(times),
        )  # fmt: skip
        told = [place for place in self._prices() if self.sigma.known[self.last, place]]
        told = told if self.spec.filter != "none" else []
        daily, raw = self.sigma.daily[self.last], self.sigma.daily_raw[self.last]
        if self.spec.tools is not None:
            for one in told:
                days = int(
                    self.sigma.known[: self.last + 1, one].sum() * self.grid.step_ms / DAY_MS
                )
                words = f"days of past: a day's volatility of {raw[one]:.4f} is {daily[one]:.4f}"
                self._note("tools", one, days, words)
        return Built(
            shocks=shocks, notes=tuple(self.notes),
            volatility={self.grid.coins[one]: float(daily[one]) for one in told},
            volatility_raw={self.grid.coins[one]: float(raw[one]) for one in told},
        )  # fmt: skip

    def _surface(
        self, coin: str, shapes: list[int], scaled: Float64, log_return: Float64
    ) -> Float64:
        """[scenario, 3] shifts as JointShocks means them; 0 where a window has none."""
        have = self._mirror(self.have[:, shapes[0]])
        shift = np.where(have[:, None], scaled[:, shapes], 0.0)
        if self.spec.sticky == "moneyness" or not have.any():
            return shift
        if not self.grid.known[self.last, shapes[0]]:
            words = "windows have no surface move: today's surface is not known"
            self._note("surface-stale", coin, int(have.sum()), words)
            return np.zeros_like(shift)
        level, skew, term = (float(self.grid.value[self.last, one]) for one in shapes)
        curve = float(self.grid.curve[self.last, self._curve(coin)])
        now = State(level=level, skew=skew, term=term, curve=curve)
        return np.where(have[:, None], at_fixed_strike(now, shift, log_return), 0.0)

    # ── places and notes ─────────────────────────────────────────────────────────────────────────

    def _prices(self) -> list[int]:
        return [place for place, kind in enumerate(self.grid.kinds) if kind == "price"]

    def _shapes(self, coin: str) -> list[int]:
        found = [self.grid.column(kind, coin) for kind in SHAPES]
        return [one for one in found if one is not None]

    def _curve(self, coin: str) -> int:
        return [self.grid.coins[place] for place in self._prices()].index(coin)

    def _column(self, kind: str, coin: str) -> int:
        place = self.grid.column(kind, coin)
        if place is None:
            raise refused(self.source, coin, expected="prices", found="none")
        return place

    def _proxy(self, place: int) -> Proxy | None:
        coin = self.grid.coins[place]
        return next((one for one in self.spec.stand_ins if one.name == coin), None)

    def _told(self, place: int) -> Proxy | None:
        proxy = self._proxy(place)
        return proxy if proxy is not None and proxy.beta else None

    def _mirror(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.tile(rows, 2) if self.spec.mirrored else rows

    def _note(self, code: str, whose: int | str | None, count: int, words: str) -> None:
        """A note where it happened at all."""
        if count:
            subject = self.grid.coins[whose] if isinstance(whose, int) else whose or ""
            self.notes.append(
                Note(code=code, subject=subject, count=count, text=f"{count} {words}")
            )

    def _note_marks(self) -> None:
        """What was repaired in the stretch of history that the set is made of."""
        spec, times = self.spec, self.grid.time_ms
        first = int(self.ends[0]) - spec.span_steps if len(self.ends) else self.last
        after, until = int(times[first]) - 1, int(times[self.last])
        for mark in (*self.grid.marks, *self.sigma.marks):
            found = mark.note(after_ms=after, until_ms=until)
            if found is not None:
                self.notes.append(found)
        if spec.stressed_days and len(self.ends):
            newest = moment_of(TimeMs(int(times[self.ends[-1]])))
            text = f"{spec.stressed_days:g} days up to {newest:%Y-%m-%d} moved most"
            self.notes.append(
                Note(code="stressed-period", subject="", count=len(self.ends), text=text)
            )
        if spec.windows or spec.stressed_days:
            return
        days = (until - int(times[0])) / DAY_MS
        if days < spec.lookback_days:
            text = f"history reaches back {days:.0f} of {spec.lookback_days:g} days"
            self.notes.append(Note(code="history-short", subject="", count=round(days), text=text))

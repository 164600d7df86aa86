"""Lines bound every worth on their segments, and bands hold at every corner of what they allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import InvariantBroken
from solvent.solvency.bands import Bands, Guard, check_lines_are_exact
from solvent.solvency.bounds import Allowance, lines_of
from solvent.solvency.classes import State
from solvent.solvency.rows import Market, exact_rows
from solvent.solvency.watch import Watch
from tests.solvencies import World, world
from tests.test_solvency_watch import fresh, watch_of

WIDTHS = np.array([0.003, 0.02, 0.1, 0.5])


def drifted(w: World, rng: np.random.Generator, allowance: Allowance, shift: np.ndarray) -> Market:
    """Prices shifted by node, and everything else to a random corner of the allowance or inside."""
    n = len(w.terms)

    def part(size: float) -> np.ndarray:
        corner = rng.choice([-1.0, 1.0], n) * rng.choice([1.0, rng.random()])
        return np.asarray(1.0 + size * 0.99999 * corner)

    return replace(
        w.market,
        as_of_ms=w.market.as_of_ms + int(rng.choice([0, allowance.time_ms])),
        price=w.market.price * (1.0 + shift),
        vol=w.market.vol * part(allowance.vol),
        ratio=w.market.ratio * part(allowance.basis),
    )


@settings(max_examples=120)
@given(st.integers(0, 2**32 - 1))
def test_lines_bound_every_piece(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = world(seed, digitals=True)
    most = 10.0 ** rng.uniform(-4, -1)
    allowance = Allowance(
        vol=float(rng.choice([0.0, most])), time_ms=int(rng.choice([0, 10**7])),
        basis=float(rng.choice([0.0, most / 10])),
    )  # fmt: skip
    ppm = int(rng.choice([100_000, 800_000, 1_000_000, 1_500_000]))
    lines = lines_of(
        w.terms, w.market, w.scenes, w.everything, ppm=ppm, allowance=allowance, widths=WIDTHS,
        used=len(w.scenes),
    )  # fmt: skip
    bounded = np.isfinite(lines.largest)
    assert (bounded <= w.terms.bounded).all()
    assert bounded.sum() >= len(w.terms) // 3
    count, mark = len(w.scenes), w.scenes.width * 8
    for _ in range(6):
        width, way = int(rng.integers(0, len(WIDTHS))), int(rng.integers(0, 2))
        part = float(rng.choice([0.0, 0.01, 0.5, 1.0, rng.random()]))
        shift = (1.0 if way else -1.0) * WIDTHS[width] * part
        now = drifted(w, rng, allowance, np.full(3, shift))
        assert allowance.covers(w.terms, w.market, now, w.everything)
        rows, largest = exact_rows(w.terms, now, w.scenes, w.everything)
        pieces = rows[:, mark, None] + ppm / 1e6 * rows[:, :count]
        pieces = np.concatenate([pieces, rows[:, mark : mark + 1]], axis=1)
        here = lines.base + part * (lines.ends[width, way] - lines.base)
        below, above = here[0::2, : count + 1], here[1::2, : count + 1]
        # Half a quantum per lot is added to margin; the lines have it in them.
        assert (below + 0.5 <= pieces)[bounded].all()
        assert (above - 0.5 >= pieces)[bounded].all()
        assert (largest <= lines.largest)[bounded].all()


def test_lines_touch_what_they_bound() -> None:
    """Without allowances a line is the worth itself at the base, but for the roundings; a future's
    is the worth everywhere."""
    w = world(7)
    lines = lines_of(
        w.terms, w.market, w.scenes, w.everything, ppm=700_000, allowance=Allowance(),
        widths=WIDTHS, used=len(w.scenes),
    )  # fmt: skip
    count, mark = len(w.scenes), w.scenes.width * 8
    future = w.terms.strike == 0.0
    for shift, ends in ((0.0, lines.base), (0.1, lines.ends[2, 1]), (-0.5, lines.ends[3, 0])):
        now = replace(w.market, price=w.market.price * (1.0 + shift))
        rows, _ = exact_rows(w.terms, now, w.scenes, w.everything)
        pieces = rows[:, mark, None] + 0.7 * rows[:, :count]
        near = np.asarray((np.abs(ends[0::2, :count] - pieces) <= 6.0).all(axis=1))
        near &= (np.abs(ends[1::2, :count] - pieces) <= 6.0).all(axis=1)
        assert near[future].all()
        if shift == 0.0:
            assert near.all()
    # A used-up list of scenarios reads the mark in place of the rest.
    fewer = lines_of(
        w.terms, w.market, w.scenes, w.everything, ppm=700_000, allowance=Allowance(),
        widths=WIDTHS, used=1,
    )  # fmt: skip
    assert (fewer.base[:, 1] == fewer.base[:, mark]).all()


def proved(watch: Watch, account: int, shift: np.ndarray) -> bool:
    """Whether bands say that an account is safe with every price shifted so."""
    bands, store = watch.bands, watch.held.store
    assert bands is not None
    for row in watch.held.rows_of(account):
        if store.length[row] == 0:
            continue
        move = float(shift[store.node[row]])
        place = bands.place_of[row]
        width = int(bands.up[place] if move >= 0 else bands.down[place])
        if width == 0 or abs(move) > bands.widths[width - 1]:
            return False
    return True


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_bands_hold_at_every_corner(seed: int) -> None:
    """All underlyings go to the ends of their segments at once: shares may not be spent twice."""
    rng = np.random.default_rng(seed)
    w = world(seed, scenarios=16)
    allowance = Allowance(vol=0.01, time_ms=60_000, basis=0.0002) if seed % 2 else Allowance()
    guard = State.CALL if seed % 3 else State.LIQUIDATE
    watch = watch_of(w, seed, way="bands", guard=guard, allowance=allowance, accounts=250)
    bands = watch.bands
    assert bands is not None
    check_lines_are_exact(bands)
    claims = 0
    for _ in range(12):
        shift = rng.choice([-1.0, 1.0], 3) * rng.choice(bands.widths, 3) * (1.0 - 1e-9)
        now = drifted(w, rng, allowance, shift)
        watch.matrix, watch.largest = exact_rows(w.terms, now, w.scenes, w.everything)
        true = fresh(watch)
        for account in range(250):
            if proved(watch, account, shift):
                claims += 1
                assert true.state[account] < guard, (seed, account, shift)
    assert claims > 50


def test_shares_add_up_to_the_slack_and_no_more() -> None:
    """Two futures on two underlyings, slack for one of them alone: never both to the end."""
    w = world(2, nodes=2, each=3, scenarios=8)
    rows, _ = exact_rows(w.terms, w.market, w.scenes, w.everything)
    futures = [int(np.flatnonzero((w.terms.node == n) & ~w.terms.inverse)[0]) for n in (0, 1)]
    from solvent.solvency.holdings import Holdings

    mark = rows[futures, w.scenes.width * 8]
    lots = np.rint(1e12 / mark)
    held = Holdings.of(
        first=np.array([0, 2], np.int64), instrument=np.array(futures, np.int32), lots=lots,
        node_of=w.terms.node,
    )  # fmt: skip
    bands = Bands(
        held, w.terms, w.scenes, w.market, guard=Guard(ppm=0, scenarios=8),
        widths=[0.01 * n for n in range(1, 30)], allowance=Allowance(),
    )  # fmt: skip
    who = np.zeros(1, np.int32)
    cash = np.array([-int((lots * mark).sum()) + 100_000_000_000], np.int64)
    bands.refresh(held, cash, who)
    # Slack of 10 % of one of the two equal positions: half of it each.
    found = sorted(bands.down[bands.place_of[held.rows_of(0)]].tolist())
    assert found[0] in (4, 5)
    assert found[1] in (4, 5)
    bands.refresh(held, cash - 100_000_000_001, who)
    assert (bands.down == 0).all()
    assert (bands.up == 0).all()


def test_an_epoch_that_is_two_renewals_old_is_void() -> None:
    w = world(6, nodes=2)
    watch = watch_of(w, 6, way="bands", accounts=200)
    bands, held = watch.bands, watch.held
    assert bands is not None
    rows = bands.row[bands.row >= 0]
    both = [a for a in range(200) if len(held.rows_of(a)) == 2 and all(
        bands.down[bands.place_of[r]] for r in held.rows_of(a))]  # fmt: skip
    assert len(both) > 20
    assert len(rows) == held.rows
    bands.renew(held, 0, watch.market)
    assert all(bands.down[bands.place_of[r]] for a in both for r in held.rows_of(a))
    bands.renew(held, 0, watch.market)
    assert not any(bands.down[bands.place_of[r]] for a in both for r in held.rows_of(a))


def test_widths_and_allowances_are_checked() -> None:
    w = world(1)
    watch = watch_of(w, 1, way="none")
    for widths in ([], [0.0], [0.1, 0.1], [0.2, 1.0]):
        with pytest.raises(InvariantBroken):
            Bands(
                watch.held, w.terms, w.scenes, w.market, guard=Guard(ppm=1, scenarios=1),
                widths=widths, allowance=Allowance(),
            )  # fmt: skip
    for bad in ({"vol": 1.0}, {"basis": -0.1}, {"time_ms": -1}, {"per_lot": -1.0}):
        with pytest.raises(InvariantBroken):
            Allowance(**bad)

"""A crash from a seed, replayed: as it was, and under other rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import solvent as sv
from solvent.counterfactual import Comparison, Replayed
from solvent.engine.audit import violations
from solvent.engine.image import state_hash
from solvent.errors import RulebookError, SolventError
from solvent.feeds.library import rulebook_source
from solvent.host import Engine
from solvent.journal import Journal, Row, create
from solvent.lab.replay_report import write_replay_report
from solvent.messages.codec import decode_command, decode_events, encode_events
from solvent.messages.commands import PublishMarket
from solvent.messages.events import Rejected
from solvent.recovery import ReplayDiverged, recovered
from solvent.sim.crash import Rehearsed, rehearse
from solvent.sim.weather import STEPS, shaken, weather

ACCOUNTS = 300
SMALL = 12
STEPS_SMALL = 8
STEPS_MANY = 24


def history(where: Path, *, accounts: int, **options: Any) -> Rehearsed:
    with Engine.create(where) as engine:
        return rehearse(engine, accounts=accounts, **options)


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rehearsed]:
    where = tmp_path_factory.mktemp("crash") / "venue"
    return where, history(where, accounts=ACCOUNTS, seed=7, steps=STEPS_MANY)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("small") / "venue"
    history(where, accounts=SMALL, seed=3, activity=1.0, steps=STEPS_SMALL)
    return where


@pytest.fixture(scope="module")
def other(crash: tuple[Path, Rehearsed]) -> Comparison:
    return sv.replay(crash[0], rulebook="paradex-pm")


def test_a_crash_is_one(crash: tuple[Path, Rehearsed]) -> None:
    where, made = crash
    assert 0.5 < made.low < 0.6
    assert made.publications == STEPS_MANY + 1
    assert made.liquidations > 10
    assert made.rejected["MARGIN_INSUFFICIENT"] > 10
    assert made.accepted + sum(made.rejected.values()) == made.commands
    with Journal.open(where, read_only=True) as journal:
        state = recovered(journal)
    assert not list(violations(state))
    assert state_hash(state) == made.state_hash
    assert len(state.account_numbers) > ACCOUNTS


def test_the_same_seed_gives_the_same_history(small: Path, tmp_path: Path) -> None:
    made = history(tmp_path / "again", accounts=SMALL, seed=3, activity=1.0, steps=STEPS_SMALL)
    with Journal.open(small, read_only=True) as one, Journal.open(tmp_path / "again") as two:
        assert one.head == two.head
        assert two.head.sequence == made.commands
    with Engine.open(small) as engine, pytest.raises(SolventError, match="an empty journal"):
        rehearse(engine, accounts=1)


def test_coins_take_part_where_they_are_asked_for(tmp_path: Path) -> None:
    history(tmp_path / "coins", accounts=SMALL, seed=4, inverse=True, steps=STEPS_SMALL)
    with Journal.open(tmp_path / "coins", read_only=True) as journal:
        state = recovered(journal)
    assert {name for name, _ in state.assets} == {"USDC", "BTC", "ETH"}
    assert any(one.deal.inverse and one.holders for one in state.contracts)
    assert not list(violations(state))


def test_weather_and_its_market(snapshot: Any) -> None:
    import numpy as np

    levels = list(weather(np.random.Generator(np.random.PCG64(1)), STEPS))
    assert len(levels) == STEPS
    assert max(vol for _, vol in levels) > 2
    assert levels[-1][0] > min(spot for spot, _ in levels)
    later = shaken(snapshot, spot=0.6, vol=2.0, time_ms=int(snapshot.as_of_ms) + 60_000)
    assert later.usable.all()
    assert later.index == pytest.approx(snapshot.index * 0.6)
    option = snapshot.universe.is_option
    assert later.vol[option] == pytest.approx(2 * snapshot.vol[option])
    same = shaken(snapshot, spot=1.0, vol=1.0, time_ms=int(snapshot.as_of_ms))
    assert same.mark[option] == pytest.approx(snapshot.mark[option], rel=1e-6, abs=1e-6)


def test_replay_is_the_record(crash: tuple[Path, Rehearsed]) -> None:
    where, made = crash
    seen: list[tuple[int, int]] = []
    found = sv.replay(where, progress=lambda done, head: seen.append((done, head)))
    assert isinstance(found, Replayed)
    assert (found.commands, found.state_hash) == (made.commands, made.state_hash)
    assert found.snapshots == ()
    assert seen[-1] == (made.commands, made.commands)


def test_replay_meets_a_snapshot_on_its_way(small: Path, tmp_path: Path) -> None:
    with Journal.open(small, read_only=True) as journal:
        journal.export(tmp_path / "rows.parquet")
        half = journal.head.sequence // 2
        rows = list(journal.read())
    create(tmp_path / "venue")
    with Journal.open(tmp_path / "venue") as journal:
        journal.append(rows[:half])
    with Engine.open(tmp_path / "venue") as engine:
        engine.snapshot()
    with Journal.open(tmp_path / "venue") as journal:
        journal.append(rows[half:])
    assert sv.replay(tmp_path / "venue").snapshots == (half,)
    with Journal.open(tmp_path / "venue") as journal:
        journal.save_snapshot(len(rows), rows[-1].chain, other_image(small, half))
    with pytest.raises(ReplayDiverged, match=r"snapshot at \d+: expected state"):
        sv.replay(tmp_path / "venue")


def other_image(where: Path, until: int) -> bytes:
    """An image of an earlier state."""
    from solvent.engine.image import image
    from solvent.engine.state import State
    from solvent.recovery import replay

    state = State()
    with Journal.open(where, read_only=True) as journal:
        replay(state, list(journal.read(until=until)))
    return image(state)


def forged(where: Path, target: Path) -> int:
    """A copy whose chain is sound and whose last deposit tells another story; where that is."""
    from solvent.chains import ORIGIN, link

    with Journal.open(where, read_only=True) as journal:
        rows = list(journal.read())
    at = max(row.sequence for row in rows if row.kind == "deposit")
    chain, told = ORIGIN, []
    for row in rows:
        events = row.events
        if row.sequence == at:
            events = encode_events([Rejected(641, "expected more")])
        chain = link(chain, row.sequence, row.time_ms, row.command, events)
        told.append(Row(row.sequence, row.time_ms, row.kind, row.command, events, chain))
    create(target)
    with Journal.open(target) as journal:
        journal.append(told)
    return at


def test_replay_says_where_it_diverges(small: Path, tmp_path: Path) -> None:
    at = forged(small, tmp_path / "forged")
    for options in ({}, {"rulebook": "deribit-sm"}):
        with pytest.raises(ReplayDiverged) as caught:
            sv.replay(tmp_path / "forged", **options)  # type: ignore[call-overload]
        assert caught.value.sequence == at
        assert f"command {at} (deposit)" in str(caught.value)


def test_the_same_rulebook_makes_no_difference(crash: tuple[Path, Rehearsed]) -> None:
    found = sv.replay(crash[0], rulebook="deribit-pm")
    assert found.identical
    assert found.recorded.points == found.other.points
    assert found.recorded.rejected == found.other.rejected
    assert found.recorded.largest == found.other.largest
    assert found.differing() == []
    assert all(row["only_recorded"] == row["only_other"] == 0 for row in found.rejections())


def test_another_rulebook_makes_one(
    crash: tuple[Path, Rehearsed], other: Comparison, tmp_path: Path
) -> None:
    _, made = crash
    assert not other.identical
    recorded = other.recorded
    assert recorded.done["begin_liquidation"] == made.liquidations
    assert sum(row["recorded"] for row in other.rejections()) == sum(made.rejected.values())
    # After each publication, and at the end.
    assert len(recorded.points) == len(other.other.points) == made.publications + 1
    called, bad = other.overlap("called"), other.overlap("liquidatable")
    for row in (called, bad):
        assert row["both"] + row["only_recorded"] == row["recorded"]
        assert row["both"] + row["only_other"] == row["other"]
    assert bad["recorded"] == made.wound_up
    assert called["only_recorded"] + called["only_other"] > 0
    moments = other.moments()
    assert list(moments) == ["start", "market lowest", "initial highest", "end"]
    start, there = moments["start"]
    assert start.accounts > ACCOUNTS
    assert (start.unknown, there.unknown) == (0, 0)
    # Paradex's maintenance is half of its initial margin, Deribit's four fifths.
    assert there.maintenance_micro / there.initial_micro == pytest.approx(0.5, abs=0.01)
    assert start.maintenance_micro / start.initial_micro == pytest.approx(0.8, abs=0.01)
    differing = other.differing()
    sizes = [max(row["recorded_initial"], row["other_initial"]) for row in differing]
    assert sizes == sorted(sizes, reverse=True)
    document = other.to_dict()
    assert document["accounts_differing"] == len(differing) > 0
    write_replay_report(document, tmp_path / "report" / "crash.html")
    page = (tmp_path / "report" / "crash.html").read_text("utf-8")
    assert "Plotly.newPlot" in page
    assert "paradex-pm" in page
    assert "<script src=" not in page


def test_two_processes_find_the_same(small: Path) -> None:
    one = sv.replay(small, rulebook="deribit-sm").to_dict()
    assert sv.replay(small, rulebook="deribit-sm", processes=2).to_dict() == one


def test_one_name_or_another_day_or_a_file(small: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    text = rulebook_source("deribit-pm")
    strict.write_text(text.replace("price_range = 0.16", "price_range = 0.64"), "utf-8")
    found = sv.replay(small, rulebook=strict, only="deribit-pm")
    start, there = found.moments()["start"]
    assert there.initial_micro > 1.5 * start.initial_micro
    assert found.overlap("called")["only_other"] > 0
    assert sv.replay(small, rulebook="deribit-pm@2026-06-30").identical
    with pytest.raises(SolventError, match="adopted as 'nothing', found deribit-pm"):
        sv.replay(small, rulebook="deribit-sm", only="nothing")
    with pytest.raises(RulebookError, match="no rulebook 'nope'"):
        sv.replay(small, rulebook="nope")
    with pytest.raises(RulebookError, match="expected a day"):
        sv.replay(small, rulebook="deribit-pm@soon")
    with pytest.raises(SolventError, match="margins accounts as a whole"):
        sv.replay(small, rulebook="vega")


def test_what_cannot_be_priced_anew_is_told(small: Path, tmp_path: Path) -> None:
    """A market that was published without its snapshot leaves nothing to price from."""
    import msgspec

    with Journal.open(small, read_only=True) as journal:
        rows = [row for row in journal.read(until=400) if row.sequence]
    with Engine.create(tmp_path / "bare", clock=lambda: rows[0].time_ms) as engine:
        for row in rows:
            command = decode_command(row.command)
            if isinstance(command, PublishMarket):
                command = msgspec.structs.replace(command, snapshot=b"")
            answer = engine.submit(command, time_ms=row.time_ms)
            assert len(answer.events) == len(decode_events(row.events))
    with pytest.raises(SolventError, match="a published market that carries its snapshot"):
        sv.replay(tmp_path / "bare", rulebook="deribit-sm")
    assert sv.replay(tmp_path / "bare").commands == len(rows)


def test_an_empty_journal_has_nothing_to_compare(tmp_path: Path) -> None:
    create(tmp_path / "empty")
    assert sv.replay(tmp_path / "empty").commands == 0
    with pytest.raises(SolventError, match="found none"):
        sv.replay(tmp_path / "empty", rulebook="deribit-pm")

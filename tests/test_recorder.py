"""Recordings: written block by block, read back whole, cut or spoilt; found by time; played."""

from __future__ import annotations

import gzip
import itertools
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.feeds.faults import CHANCES, Injection, Injector, inject, parse_injection
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.generator import GeneratedTape
from solvent.feeds.live.messages import Channel, Want
from solvent.feeds.player import Rehearsal, paced, stage_of, wants_of
from solvent.feeds.recorder import SUFFIX, Block, Frame, Recorder, index_of
from solvent.feeds.recordings import first_place, open_recording, read_index
from tests.tapes import folder

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND


def some(count: int, *, step_ns: int = SECOND // 10) -> list[Frame]:
    rng = random.Random(count)
    return [
        Frame(T0 + n * step_ns, "in", "wss://x", f'{{"n":{n},"é":"{rng.random()}"}}')
        for n in range(count)
    ]


def written(where: Path, frames: list[Frame], **sizes: int) -> list[Path]:
    with Recorder(where, name="deribit", **sizes) as recorder:
        for frame in frames:
            recorder.write(frame)
    assert recorder.frames == len(frames)
    return recorder.files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    frames = some(95)
    frames += [
        Frame(T0 + 10 * SECOND, "open", "wss://x", ""),
        Frame(T0 + 11 * SECOND, "out", "wss://x", "ping"),
        Frame(T0 + 12 * SECOND, "answer", "https://x/depth?a=b", "no json\n at all \x00"),
    ]  # fmt: skip
    (path,) = written(tmp_path, frames)
    tape = open_recording(tmp_path)
    assert list(tape) == frames == list(tape)
    assert list(open_recording(path)) == frames
    assert tape.notices == []
    assert first_place(tape) == "wss://x"
    # Anybody's gzip reads it.
    assert gzip.decompress(path.read_bytes()).count(b"\n") == len(frames)
    blocks = read_index(path)
    assert sum(block.frames for block in blocks) == len(frames)
    assert blocks[-1].offset + blocks[-1].length == path.stat().st_size
    assert all(block.last_ns - block.first_ns < SECOND for block in blocks)


def test_frames_that_are_no_text(tmp_path: Path) -> None:
    with Recorder(tmp_path, name="x") as recorder:
        recorder.take(T0, "in", "wss://x", b"\xff\x00")
        recorder.take(T0, "in", "wss://x", b"text")
    first, second = open_recording(tmp_path)
    assert (first.kind, first.payload) == ("in64", b"\xff\x00")
    assert (second.kind, second.payload, second.at_ms) == ("in", "text", T0 // 1_000_000)


def test_files_rotate_and_the_oldest_go(tmp_path: Path) -> None:
    frames = some(300)
    files = written(tmp_path / "all", frames, file_bytes=2_000)
    assert len(files) > 3
    assert list(open_recording(tmp_path / "all")) == frames
    by_time = written(tmp_path / "hourly", frames, file_ns=5 * SECOND)
    assert 5 <= len(by_time) <= 7
    kept = written(tmp_path / "few", frames, file_bytes=2_000, keep_files=2)
    assert len(kept) == 2
    assert sorted((tmp_path / "few").glob("*.gz")) == sorted(kept)
    assert len(list((tmp_path / "few").glob("*.index"))) == 2
    rest = list(open_recording(tmp_path / "few"))
    assert rest == frames[-len(rest) :]


def test_recording_twice_overwrites_nothing(tmp_path: Path) -> None:
    frames = some(5)
    first, second = written(tmp_path, frames), written(tmp_path, frames)
    assert first != second
    assert len(list(open_recording(tmp_path))) == 10


def test_a_time_is_found_without_what_is_before(tmp_path: Path) -> None:
    frames = some(400)
    (path,) = written(tmp_path, frames)
    at_ms = frames[250].at_ms
    late = open_recording(tmp_path, from_ms=at_ms, to_ms=at_ms + 3_000)
    assert list(late) == frames[250:281]
    # What is before is not even looked at: spoil it.
    spoilt = bytearray(path.read_bytes())
    spoilt[20:200] = bytes(180)
    path.write_bytes(spoilt)
    assert list(late) == frames[250:281]
    assert late.notices == []
    index_of(path).unlink()
    assert list(late) == []
    assert "spoilt" in late.notices[0]


@settings(max_examples=25)
@given(part=st.floats(0.0, 1.0), with_index=st.booleans())
def test_a_cut_recording_is_read_up_to_the_cut(
    tmp_path_factory: pytest.TempPathFactory, part: float, with_index: bool
) -> None:
    where = tmp_path_factory.mktemp("cut")
    frames = some(60)
    (path,) = written(where, frames)
    blocks, whole = read_index(path), path.read_bytes()
    at = int(part * len(whole))
    path.write_bytes(whole[:at])
    if not with_index:
        index_of(path).unlink()
    tape = open_recording(where)
    found = list(tape)
    assert found == frames[: len(found)]
    sure = sum(block.frames for block in blocks if block.offset + block.length <= at)
    assert len(found) >= sure
    between = at not in {0, *(block.offset + block.length for block in blocks)}
    assert len(tape.notices) == between
    assert all("cut" in notice for notice in tape.notices)


def test_one_spoilt_block_costs_no_more_than_itself(tmp_path: Path) -> None:
    frames = some(60)
    (path,) = written(tmp_path, frames)
    blocks = read_index(path)
    spoilt = bytearray(path.read_bytes())
    middle = blocks[2].offset + blocks[2].length // 2
    spoilt[middle : middle + 40] = bytes(40)
    path.write_bytes(spoilt)
    tape = open_recording(tmp_path)
    found = list(tape)
    lost = [frame for frame in frames if frame not in found]
    assert 0 < len(lost) <= blocks[2].frames
    assert lost[-1].at_ns == blocks[2].last_ns
    assert len(tape.notices) == 1


def test_lines_that_are_no_frames_are_left_out(tmp_path: Path) -> None:
    (path,) = written(tmp_path, some(3))
    packed = gzip.compress(b'{"a":1}\n[1,2]\nx\n')
    path.write_bytes(path.read_bytes() + packed)
    tape = open_recording(tmp_path)
    assert len(list(tape)) == 3
    assert len(tape.notices) == 3
    index_of(path).write_bytes(index_of(path).read_bytes()[:-5])
    assert all(isinstance(one, Block) for one in read_index(path))


def test_where_there_is_no_recording(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match="a recording"):
            open_recording(path)


def test_every_cryptofeed_recording_reads() -> None:
    """All eight venues', also those without an adapter; a cut one up to its cut."""
    names = {path.name.split(".")[0] for path in folder().glob("*.gz")}
    assert len(names) == 8
    for name in sorted(names):
        tape = open_recording(folder() / name)
        frames = list(tape)
        assert tape.notices == [], name
        assert frames == sorted(frames, key=lambda one: one.at_ns)
        assert {one.kind for one in frames} <= {"open", "in", "out", "answer"}
        assert sum(one.kind == "in" for one in frames) > 100, name
        assert first_place(tape).startswith("wss://")


def test_a_cut_cryptofeed_recording(tmp_path: Path) -> None:
    source = folder() / "OKX.ws.1.0.gz"
    whole = list(open_recording(source))
    (tmp_path / source.name).write_bytes(source.read_bytes()[:20_000])
    tape = open_recording(tmp_path / source.name)
    found = list(tape)
    assert 10 < len(found) < len(whole)
    assert found == whole[: len(found)]
    assert "cut" in tape.notices[0]


# ── playing ──────────────────────────────────────────────────────────────────────────────────────


def test_paces() -> None:
    frames = some(3, step_ns=SECOND)
    begun = time.monotonic()
    assert list(paced(frames, speed=0)) == frames
    assert time.monotonic() - begun < 0.5
    begun = time.monotonic()
    assert list(paced(frames, speed=20)) == frames
    assert time.monotonic() - begun >= 0.1


def test_injections_are_told_and_repeat() -> None:
    plan = parse_injection(
        "drop=0.1, duplicate=0.1,reorder=0.1,gap=0.02,delay=0.1,corrupt=0.1,seed=9"
    )
    frames = [f'{{"n":{n}}}' for n in range(2_000)]
    injector = Injector(plan)
    arrived = [one for frame in frames for one in injector.through(frame)] + injector.flush()
    assert arrived == list(inject(frames, plan))
    assert set(injector.injected) == {*CHANCES, "swallowed"}
    for name in ("drop", "duplicate", "reorder", "delay", "corrupt"):
        assert 100 < injector.injected[name] < 320, name
    texts = [text for _, text in arrived]
    intact = [text for text in texts if text in set(frames)]
    # Corruption leaves nothing that reads; the rest is accounted for to the frame.
    corrupt = injector.injected["corrupt"]
    assert len(texts) - len(intact) == corrupt
    lost = injector.injected["drop"] + injector.injected["gap"] + injector.injected["swallowed"]
    assert len(texts) == len(frames) - lost + injector.injected["duplicate"]
    assert all(0 <= pause <= plan.delay_ms for pause, _ in arrived)
    calm = list(inject(frames, Injection(drop=0.5, first_frames=10)))
    assert [text for _, text in calm][-1_990:] == frames[10:]


@pytest.mark.parametrize("text", ["drop", "drop=2", "drop=-1", "drop=x", "dorp=0.1", "seed=1.5"])
def test_injections_that_cannot_be(text: str) -> None:
    with pytest.raises(BadInput, match="--faults"):
        parse_injection(text)


def test_a_generated_tape_is_recorded_served_and_the_same(tmp_path: Path) -> None:
    """Generated, recorded, read, through the venue's stand-in: one market."""
    tape = GeneratedTape(seed=6, steps=12)
    with Recorder(tmp_path, name="generated") as recorder:
        for frame in tape:
            recorder.write(frame)
    read = open_recording(tmp_path)
    assert list(read) == list(tape)
    wants = wants_of(tape)
    assert Want(Channel.BOOK, "BTC-PERPETUAL") in wants
    adapter = Deribit(wants)
    rehearsal = Rehearsal(
        stage_of(read), adapter, injection=Injection(drop=0.05, corrupt=0.05, seed=1)
    )
    told = list(itertools.chain(rehearsal.play(read), rehearsal.beat(T0 * 2)))
    assert told
    assert rehearsal.injected["drop"] > 10
    assert adapter.health.faults["malformed"] > 10
    books = rehearsal.equal_books()
    assert set(books) == {"BTC-PERPETUAL", "ETH-PERPETUAL"}
    assert all(books.values())
    assert index_of(recorder.files[0]).name.endswith("frames.index")
    assert recorder.files[0].name.endswith(SUFFIX)

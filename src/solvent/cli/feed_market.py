"""Several venues or recordings to one published market, for `solvent feed snapshot`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from solvent.feeds.live.adapter import Adapter
    from solvent.feeds.live.connection import Connection
    from solvent.feeds.live.messages import Message, Want
    from solvent.feeds.live.published import Published, Publisher
    from solvent.feeds.live.unified import UnifiedFeed
    from solvent.market import Snapshot
    from solvent.market.index import IndexRule

_EVERY_MS: Final = 1_000
"""How often sources are judged."""
_SHOWN: Final = 20
_Told = list[tuple[str, str]]
"""(venue, symbol) pairs."""


def hear(
    words: Sequence[str], seconds: float, url: str | None, rest_url: str | None,
    rules: Path | None,
) -> tuple[Published, list[str]]:  # fmt: skip
    """What venues tell in so many seconds, or recordings to their end, published; and what is to be
    known of a recording. Sources come before symbols. Raises BadInput, and SolventError where
    nothing came."""
    from solvent.errors import BadInput, Problem, Reject, SolventError

    sources = [words[0], *takewhile(_is_source, words[1:])]
    symbols = list(words[len(sources) :]) or ["BTC"]
    live = [one for one in sources if _is_venue(one)]
    if (live and len(live) < len(sources)) or ((url or rest_url) and len(sources) > 1):
        expected = "venues or recordings, not both; one venue with another address"
        raise BadInput(Problem(code=Reject.INPUT_INVALID, source="SOURCE", expected=expected,
                               found=" ".join(sources)[:160]))  # fmt: skip
    if live:
        publisher, end_ms = _of_venues(live, symbols, seconds, url, rest_url, rules)
        notices: list[str] = []
    else:
        publisher, end_ms, notices = _of_tapes(sources, rules)
    found = publisher.publish(end_ms)
    if found is None:
        unknown = ", ".join(sorted(publisher.market.unknown)[:5])
        raise SolventError(
            f"{' '.join(sources)}: no ticker of a known contract came ({unknown or 'none'})"
        )
    return found, notices


def margined(found: Published) -> Snapshot | None:
    """The market without what a file could not tell from what is sound: instruments on an index
    that is UNKNOWN, and those whose forward or mark is beyond its band."""
    from solvent.market import Flag
    from solvent.market.moved import restricted

    bad = (found.snapshot.flags & (Flag.INDEX_MISSING | Flag.OUT_OF_RANGE)) != 0
    kept = [row for row, left_out in enumerate(bad.tolist()) if not left_out]
    return restricted(found.snapshot, kept) if kept else None


def print_market(found: Published, kept: Snapshot | None, out: Path) -> None:
    """Indices with their sources, reasons, and what was written."""
    from solvent.cli import console
    from solvent.cli.oracle import price_text, sources_table

    def say(line: str) -> None:
        console.out.print(line, markup=False, highlight=False)

    for index in found.indices:
        price = price_text(index.price_nano) if index.known else "UNKNOWN"
        say(f"{index.underlying}: {price} ({index.reason.value})")
        console.out.print(sources_table(index))
    for reason in found.reasons[:_SHOWN]:
        say(reason)
    if len(found.reasons) > _SHOWN:
        say(f"... and {len(found.reasons) - _SHOWN} more; --json lists all")
    if kept is None:
        say("nothing was written: no instrument can be margined")
        return
    say(f"{kept!r}")
    left = len(found.snapshot.universe) - len(kept.universe)
    say(f"written: {out}" + (f", {left:,} instruments left out" if left else ""))


# ── where messages come from ─────────────────────────────────────────────────────────────────────


def _is_venue(word: str) -> bool:
    from solvent.feeds.live.unified import PREFIX
    from solvent.feeds.live.venues import ADAPTERS

    return word in ADAPTERS or word.startswith(PREFIX)


def _is_source(word: str) -> bool:
    """A venue, a generated market or a recording; anything else is a symbol."""
    from solvent.cli.play import GENERATED

    path = Path(word)
    if _is_venue(word) or word.partition(":")[0] == GENERATED or path.exists():
        return True
    return "/" in word and path.parent.is_dir() and any(path.parent.glob(f"{path.name}.*"))


def _of_venues(
    venues: list[str], symbols: list[str], seconds: float, url: str | None,
    rest_url: str | None, rules: Path | None,
) -> tuple[Publisher, int]:  # fmt: skip
    """Listen to all of them at once."""
    from solvent.errors import SolventError
    from solvent.feeds.live.connection import Connection, listen
    from solvent.feeds.live.messages import Channel, Want
    from solvent.feeds.live.unified import PREFIX, UnifiedFeed, ccxt_client
    from solvent.feeds.live.venues import make_adapters, wants_for

    feeds: list[UnifiedFeed | Connection] = []
    heard: list[UnifiedFeed | Adapter] = []
    told: _Told = []
    for venue in dict.fromkeys(venues):
        wants: list[Want]
        if venue.startswith(PREFIX):
            wants = [Want(Channel.TICKER, symbol) for symbol in symbols]
            watched = UnifiedFeed(ccxt_client(venue.removeprefix(PREFIX)), wants)
            feeds.append(watched)
            heard.append(watched)
        else:
            wants = wants_for(venue, symbols, [Channel.TICKER])
            adapters = make_adapters(venue, wants)
            feeds += [Connection(one, url=url, rest_url=rest_url) for one in adapters]
            heard.append(adapters[0])
        told += [(heard[-1].venue, want.symbol) for want in wants]
    now_ms = _played_clock() if _is_played(url or "") else _clock
    publisher = _publisher(told, rules, now_ms([]))
    take = _judging(publisher)
    listen(feeds, seconds=seconds, each=lambda messages: take(messages, now_ms(messages)))
    if not any(one.health.frames for one in heard):
        raise SolventError(f"{' '.join(venues)}: nothing came in {seconds:g} s")
    return publisher, now_ms([])


def _clock(messages: Sequence[Message]) -> int:
    del messages
    return time.time_ns() // 1_000_000


def _is_played(url: str) -> bool:
    """Whether a venue is one of this machine, such as `solvent play` makes: its time is that of
    what it plays, and our clock has nothing to do with it."""
    return "//127.0.0.1" in url or "//localhost" in url


def _played_clock() -> Callable[[Sequence[Message]], int]:
    """A clock that is as late as the newest that was told."""
    newest_ms = 0

    def now_ms(messages: Sequence[Message]) -> int:
        nonlocal newest_ms
        newest_ms = max([newest_ms, *(getattr(one, "time_ms", 0) for one in messages)])
        return newest_ms

    return now_ms


def _of_tapes(sources: list[str], rules: Path | None) -> tuple[Publisher, int, list[str]]:
    """Play recordings to their ends, side by side by when things were heard. A venue that is there
    before is numbered."""
    import msgspec

    from solvent.cli.play import tape
    from solvent.feeds.live.messages import Ticker
    from solvent.feeds.live.venues import adapter_for
    from solvent.feeds.player import Rehearsal, stage_of, wants_of
    from solvent.feeds.recordings import first_place

    def tickers(venue: str, told: Iterable[Message], *, again: bool) -> Iterator[Message]:
        now_ms = _played_clock()
        for one in told:
            if isinstance(one, Ticker):
                received_ms = now_ms([one]) if again else one.received_ms
                quote_ms = one.quote_ms if one.time_ms else 0  # 0: dated by when it was received
                yield msgspec.structs.replace(
                    one, venue=venue, received_ms=received_ms, quote_ms=quote_ms
                )

    told: _Told = []
    streams: list[Iterator[Message]] = []
    notices: list[str] = []
    names: list[str] = []
    for source in sources:
        frames = tape(source)
        wants = wants_of(frames)
        adapter = adapter_for(first_place(frames), wants)
        names.append(adapter.venue)
        count = names.count(adapter.venue)
        venue = adapter.venue if count == 1 else f"{adapter.venue}#{count}"
        told += [(venue, want.symbol) for want in wants]
        first = next(iter(frames), None)
        again = first is not None and first.kind == "open" and _is_played(first.text)
        messages = Rehearsal(stage_of(frames), adapter).play(frames)
        streams.append(tickers(venue, messages, again=again))
        notices += getattr(frames, "notices", [])
    publisher, end_ms = _publisher(told, rules, 0), 0
    take = _judging(publisher)
    for message in merge(*streams, key=lambda one: one.received_ms):
        end_ms = max(end_ms, message.received_ms)
        take([message], end_ms)
    return publisher, end_ms, notices


def _publisher(told: _Told, rules: Path | None, now_ms: int) -> Publisher:
    """With a rule for each coin: of a file where it has one, else a vote each of the venues."""
    from solvent.feeds.live.published import Publisher, index_rules, sources_of
    from solvent.feeds.market_rules import read_market_rules

    made: dict[str, IndexRule] = {one.underlying: one for one in index_rules(sources_of(told))}
    if rules is not None:
        found = [one.rule for one in read_market_rules(rules).indices.values()]
        made |= {one.underlying: one for one in found if one.underlying in made}
    # What a venue tells who has just come is as old as its last change: age alone judges it.
    begun_ms = now_ms - max((one.source.stale_ms for one in made.values()), default=0)
    return Publisher(made.values(), now_ms=max(begun_ms, 0))


def _judging(publisher: Publisher) -> Callable[[list[Message], int], None]:
    """Messages to a publisher, whose sources are judged once a second."""
    last_ms = 0

    def take(messages: list[Message], now_ms: int) -> None:
        nonlocal last_ms
        if last_ms and now_ms - last_ms >= _EVERY_MS:
            publisher.indices(now_ms)
            last_ms = now_ms
        last_ms = last_ms or now_ms
        publisher.take(messages)

    return take

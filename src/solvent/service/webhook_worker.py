"""The two tasks of webhooks: one follows the journal into the outbox, one delivers what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from solvent.engine.state import State
from solvent.errors import Reject, SolventError
from solvent.messages.codec import REFUSED, decode_command, decode_events
from solvent.messages.events import CallEnded, LiquidationBegun, MarginCalled
from solvent.service.streams import Dropped, Entry
from solvent.service.venue import NotServing, Venue
from solvent.service.webhook_targets import NotAllowed, resolved
from solvent.service.webhooks import EVENT, SIGNATURE, Due, News, Outbox, news_of, signed

AT_ONCE: Final = 8
TIMEOUT_S: Final = 10.0
LOOK_S: Final = 1.0
ROWS: Final = 2_000
"""Rows of the journal that are read together."""
_GONE: Final = 410
_ABOUT: Final = (MarginCalled, CallEnded, LiquidationBegun)
_LOG: Final = logging.getLogger(__name__)


class Webhooks:
    """Runs from `start` to `stop`, which belong to the event loop."""

    def __init__(self, venue: Venue, outbox: Outbox, *, look_s: float = LOOK_S) -> None:
        self.venue, self.outbox, self._look_s = venue, outbox, look_s
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._noted = 0

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._deliver())]

    async def stop(self) -> None:
        """End; what waits is told after the next start."""
        for one in self._tasks:
            one.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ── from the journal ─────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        with suppress(NotServing):
            await self.venue.ready()
        while True:
            try:
                await self._followed()
                return
            except Dropped:
                continue
            except NotServing:
                return
            except Exception:
                _LOG.exception("webhooks cannot follow the journal")
                await asyncio.sleep(self._look_s)

    async def _followed(self) -> None:
        """Catch up with what happened while nobody listened, then listen."""
        async with await self.venue.subscribe() as live:
            place = await asyncio.to_thread(self.outbox.place)
            if place is None:
                place = live.start
                await asyncio.to_thread(self.outbox.take, (), place)
            self._noted = place
            while place < live.start:
                entries = await asyncio.to_thread(self._read, place, live.start)
                place = entries[-1].sequence
                await self._take(entries)
            async for commit in live:
                new = [one for one in commit.entries if one.sequence > place]
                if new:
                    place = new[-1].sequence
                    await self._take(new)

    def _read(self, after: int, until: int) -> list[Entry]:
        with self.venue.reader() as journal:
            rows = journal.read(after=after, until=min(until, after + ROWS), verify=False)
            found = []
            for row in rows:
                refused = row.events.startswith(REFUSED)
                code = int(Reject.COMMAND_MALFORMED) if refused else 0
                events = () if refused else decode_events(row.events)
                command = decode_command(row.command)
                found.append(Entry(row.sequence, row.time_ms, command, code, events))
        return found

    async def _take(self, entries: Sequence[Entry]) -> None:
        numbers = {
            event.account for one in entries if not one.code for event in one.events
            if isinstance(event, _ABOUT)
        }  # fmt: skip
        names: dict[int, str] = {}
        if numbers:
            names = await self.venue.read(lambda engine: _names(engine.state, numbers))
        found: list[News] = []
        for one in entries:
            found += news_of(
                one.sequence, one.time_ms, one.command, one.code, one.events, names.__getitem__
            )
        last = entries[-1].sequence
        # A place without news needs not be durable at once: to read it again changes nothing.
        if found or last - self._noted >= ROWS:
            self._noted = last
            if await asyncio.to_thread(self.outbox.take, found, last):
                self._news.set()

    # ── to those who are told ────────────────────────────────────────────────────────────────────

    async def _deliver(self) -> None:
        import httpx

        async with httpx.AsyncClient(
            timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
        ) as client:
            while True:
                try:
                    due = await asyncio.to_thread(self.outbox.due, AT_ONCE)
                    await asyncio.gather(*(self._tried(client, one) for one in due))
                except Exception:
                    _LOG.exception("webhooks cannot be delivered")
                    due = []
                if len(due) < AT_ONCE:
                    self._news.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), self._look_s)

    async def _tried(self, client: Any, one: Due) -> None:
        fault, final = await self._sent(client, one)
        await asyncio.to_thread(self.outbox.ended, one, fault=fault, final=final)
        if fault:
            _LOG.warning("webhook %s, event %s: %s", one.hook.id, one.event, fault)

    async def _sent(self, client: Any, one: Due) -> tuple[str, bool]:
        """Why it was not taken (or nothing), and whether it never will be."""
        import httpx

        try:
            target = await resolved(one.hook.url, self.outbox.allowed)
            url = httpx.URL(target.url).copy_with(host=str(target.address))
            headers = {
                "host": httpx.URL(target.url).netloc.decode("ascii"),
                "content-type": "application/json", EVENT: one.event,
                SIGNATURE: signed(
                    self.outbox.secret(one.hook), one.body, self.outbox.clock() // 1_000
                ),
            }  # fmt: skip
            # The certificate is the name's, though an address is asked.
            async with client.stream(
                "POST", url, content=one.body, headers=headers,
                extensions={"sni_hostname": target.host},
            ) as answer:  # fmt: skip
                status = int(answer.status_code)
        except NotAllowed as fault:
            return str(fault), True
        except (httpx.HTTPError, OSError, SolventError) as fault:
            # A fault's own words may have the URL in them.
            return type(fault).__name__, False
        return ("", False) if 200 <= status < 300 else (f"status {status}", status == _GONE)


def _names(state: State, numbers: set[int]) -> dict[int, str]:
    return {
        one: f"account {one}" if state.accounts[one] is None else state.account(one).name
        for one in numbers
    }

"""The route `/v1/ws`: a client's messages, and who may have which channel.

A client sends `{"op": "subscribe", "channels": ["marks", "fills.alice", ["orders.alice", 1234]]}`:
a channel, or one with the sequence after which it wants to go on; also `unsubscribe`, `ping`, and
`auth` where it could not say who it is when it came. An answer has the `id` of what it answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from msgspec import Meta, Struct

from solvent.errors import SolventError
from solvent.host import Engine
from solvent.service.callers import Action, Caller, Callers, Forbidden, SignAgain, Unauthorised
from solvent.service.published import Board
from solvent.service.security.rates import network_of
from solvent.service.venue import NotServing, Venue
from solvent.service.wire import encode
from solvent.service.ws.firsts import first_of
from solvent.service.ws.hub import Client, Hub, TooFar, snapshot
from solvent.service.ws.states import ARRAYS, MARKS, States
from solvent.service.ws.topics import OF_ACCOUNTS, OF_VENUE, REPLAYED

BEAT_S: Final = 15.0
"""So often a client is told that nothing has happened."""
STILL_S: Final = 1.0
"""So often it is seen whether a client may still listen."""
NOT_ANY_MORE: Final = 4_003
"""Close code: the key or session of the client is no longer good."""
CHANNELS_MAX: Final = 256
"""Channels of one connection."""
MESSAGE_MAX: Final = 1 << 16
"""Bytes of a client's message."""
SLOW: Final = 4_008
"""Close code: what waited for the client had no room; it is to go on from where it was."""
OVER: Final = 1_012
"""Close code: the venue stops; come again."""
AGAIN: Final = 1_013
"""Close code: come again in a moment, with a new signature."""
TOO_LARGE: Final = 1_009
router = APIRouter(tags=["streams"])
Channel = str | list[str | int]
"""A channel's name, or it and the sequence to go on after."""


class Told(Struct, forbid_unknown_fields=True):
    """A client's message."""

    op: str
    id: int | str | None = None
    channels: Annotated[list[str | list[str | int]], Meta(max_length=CHANNELS_MAX)] = []
    key: str | None = None
    secret: str | None = None


_DECODER: Final = msgspec.json.Decoder(Told)


class Streams:
    """The hub of an application and those who look, begun when the first client comes."""

    def __init__(self, venue: Venue, board: Board) -> None:
        self.hub = Hub(venue, board)
        self.states = States(venue, board, self.hub)
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Be ready for clients. Raises NotServing."""
        await self.hub.start()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.states.run())

    async def stop(self) -> None:
        """Tell nothing more."""
        await self.hub.stop()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking


@router.websocket("/v1/ws")
async def socket(connection: WebSocket) -> None:
    """Everything that one client asks and is told."""
    await connection.accept()
    streams: Streams = connection.app.state.streams
    try:
        await streams.start()
    except NotServing as fault:
        await connection.close(OVER, str(fault)[:120])
        return
    talk = Talk(connection, streams)
    async with asyncio.TaskGroup() as tasks:
        for part in (talk.hear(), talk.tell(), talk.beat(), talk.until_over()):
            tasks.create_task(talk.while_open(part))


class Talk:
    """One connection."""

    def __init__(self, connection: WebSocket, streams: Streams) -> None:
        self._connection, self._streams = connection, streams
        self._hub, self._client = streams.hub, Client()
        self._caller: Caller | None = None
        self._callers: Callers = connection.app.state.callers
        self._closed = asyncio.Event()

    async def while_open(self, part: Any) -> None:
        """Do a part until the connection ends; whatever ends one ends all."""
        work = asyncio.ensure_future(part)
        gone = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            fault = work.exception() if work.done() else None
            if fault is not None and not isinstance(fault, WebSocketDisconnect | RuntimeError):
                raise fault
        finally:
            self._closed.set()
            self._hub.gone(self._client)
            for one in (work, gone):
                one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await one

    async def hear(self) -> None:
        """What the client says."""
        try:
            self._caller = await self._callers.caller(self._connection)
        except SignAgain as fault:
            await self._connection.close(AGAIN, str(fault))
            return
        except Unauthorised:
            pass  # They may say who they are later.
        while True:
            text = await self._connection.receive_text()
            if len(text) > MESSAGE_MAX:
                await self._connection.close(TOO_LARGE, f"at most {MESSAGE_MAX} bytes")
                return
            try:
                told = _DECODER.decode(text)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as fault:
                self._say({"op": "error", "code": "MALFORMED", "detail": str(fault)})
                continue
            try:
                await self._do(told)
            except (SolventError, ValueError) as fault:
                code = _CODES.get(type(fault), type(fault).__name__)
                self._say({"op": "error", "id": told.id, "code": code, "detail": str(fault)})

    async def tell(self) -> None:
        """What waits for the client."""
        box = self._client.outbox
        while True:
            for message in await box.take():
                await self._connection.send_text(message.decode())
            if box.full:
                await self._connection.close(SLOW, "too slow: go on after the last sequence")
                return

    async def beat(self) -> None:
        """Say how far the venue is, so that silence is told from nothing having happened; and see
        that who listens may still do so: a key that was revoked ends its streams."""
        still = getattr(self._callers, "still", None)
        seconds = 0.0
        while True:
            await asyncio.sleep(STILL_S)
            seconds += STILL_S
            if still is not None and self._caller is not None:
                try:
                    still(self._caller)
                except SolventError as fault:
                    await self._connection.close(NOT_ANY_MORE, str(fault)[:120])
                    return
            if seconds >= BEAT_S:
                seconds = 0.0
                self._client.outbox.replace("", encode({"op": "beat", "sequence": self._hub.head}))

    async def until_over(self) -> None:
        """Send the client away when the venue tells nothing any more."""
        await self._hub.over.wait()
        await self._connection.close(OVER, "the venue stops")

    def _say(self, document: dict[str, Any]) -> None:
        told = {name: value for name, value in document.items() if value is not None}
        self._client.outbox.put(encode(told))

    # ── what it asks ─────────────────────────────────────────────────────────────────────────────

    async def _do(self, told: Told) -> None:
        match told.op:
            case "ping":
                self._say({"op": "pong", "id": told.id, "sequence": self._hub.head})
            case "auth":
                await self._auth(told)
            case "subscribe":
                await self._subscribe(told)
            case "unsubscribe":
                names = [_named(one)[0] for one in told.channels]
                for name in names:
                    self._hub.leave(self._client, name)
                self._say({"op": "unsubscribed", "id": told.id, "channels": names})
            case _:
                raise ValueError(
                    f"expected op subscribe, unsubscribe, auth or ping, found {told.op!r}"
                )

    async def _auth(self, told: Told) -> None:
        authenticate = getattr(self._callers, "authenticate", None)
        if authenticate is None or told.key is None:
            self._caller = await self._callers.caller(self._connection)
        else:
            client = self._connection.client
            self._caller = authenticate(
                told.key, client_secret=told.secret or "",
                address=network_of(client.host if client else ""),
            )  # fmt: skip
        assert self._caller is not None
        self._say({"op": "authenticated", "id": told.id, "name": self._caller.name})

    async def _subscribe(self, told: Told) -> None:
        wanted = dict(map(_named, told.channels))
        if len(self._client.channels | wanted.keys()) > CHANNELS_MAX:
            raise ValueError(f"expected at most {CHANNELS_MAX} channels of a connection")
        if not wanted:
            raise ValueError("expected channels to subscribe to, found none")
        for name in wanted:
            self._check(name)
        again = [name for name in wanted if name in self._client.channels]
        if again:
            raise ValueError(f"subscribed already: {', '.join(again)}")
        late = {name: after for name, after in wanted.items() if after is not None}
        began = {}
        if late:
            until = await self._hub.go_on(self._client, late)
            began = dict.fromkeys(late, until)
        for name in wanted.keys() - late.keys():
            began[name] = await self._begin(name)
        rows = [{"channel": name, "sequence": began[name]} for name in wanted]
        self._say({"op": "subscribed", "id": told.id, "channels": rows})

    async def _begin(self, channel: str) -> int:
        """Tell how things are, then what happens; after which command that is."""
        if channel.partition(".")[0] not in REPLAYED:
            at = self._hub.join(self._client, channel)
            await self._streams.states.first(self._client, channel)
            return at
        self._hub.hold(self._client, channel)

        def look(engine: Engine) -> tuple[int, int, Any]:
            state = engine.state
            return state.log.sequence, state.log.time_ms, first_of(state, channel)

        venue: Venue = self._connection.app.state.venue
        try:
            sequence, time_ms, rows = await venue.read(look)
        except BaseException:
            self._hub.leave(self._client, channel)
            raise
        if rows is not None:
            self._client.outbox.put(snapshot(channel, sequence, time_ms, rows))
        self._hub.settle(self._client, channel, sequence)
        return sequence

    def _check(self, channel: str) -> None:
        """Raises Unauthorised, Forbidden, or ValueError for what is no channel."""
        if self._caller is None:
            raise Unauthorised("say who you are first, with op auth")
        kind, _, name = channel.partition(".")
        if channel == MARKS or (name and f"{kind}." in (ARRAYS, "trades.")):
            action, account = Action.MARKET_READ, None
        elif name and kind in OF_ACCOUNTS:
            action, account = Action.ACCOUNT_READ, name
        elif channel in OF_VENUE:
            action, account = Action.VENUE_READ, None
        else:
            raise ValueError(
                f"expected marks, arrays.RULEBOOK, trades.SYMBOL, calls, liquidations, or one of "
                f"{', '.join(OF_ACCOUNTS)} with an account's name, found {channel!r}"
            )
        self._callers.check(self._caller, action, account)


_CODES: Final[dict[type[BaseException], str]] = {
    ValueError: "MALFORMED", Unauthorised: "UNAUTHORIZED", Forbidden: "FORBIDDEN",
    TooFar: "TOO_FAR",
}  # fmt: skip


def _named(told: Channel) -> tuple[str, int | None]:
    """A channel and the sequence to go on after; of a channel that only tells how things are,
    none. Raises ValueError.

    >>> _named("marks"), _named(["fills.alice", 7]), _named(["marks", 7])
    (('marks', None), ('fills.alice', 7), ('marks', None))
    """
    match told:
        case str():
            return told, None
        case [str() as name, int() as after] if after >= 0:
            return name, after if name.partition(".")[0] in REPLAYED else None
    raise ValueError(f"expected a channel, or a channel and a sequence, found {told!r:.80}")

"""Clients: calls sent over HTTP, tried again with the same key where that is safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from solvent.client import calls, streams
from solvent.client.signing import signer_of
from solvent.client.wire import AGAIN, Call, Unavailable, result
from solvent.errors import MissingExtra

P = ParamSpec("P")
T = TypeVar("T")
TRIES: Final = 5
TIMEOUT_S: Final = 30.0
_UNAUTHORISED: Final = 401
_WAIT_MAX_S: Final = 5.0
_CHANCE: Final = random.SystemRandom()
"""Chance of its own: whoever seeds theirs gets the same numbers with a client or without."""


def _headers(call: Call[Any], key: str | None, actor: str | None) -> dict[str, str]:
    """What is said beside a call, with the key where that is sent."""
    found = {"accept": call.accept}
    if call.body:
        found["content-type"] = call.media
    if call.key is not None:
        found["idempotency-key"] = call.key
    if key is not None:
        found["authorization"] = f"Bearer {key}"
    if actor is not None:
        found["solvent-actor"] = actor
    return found


def _pause_s(attempt: int, headers: Mapping[str, str] | None) -> float:
    """How long to wait before the next attempt: as told, or twice as long each time, at random."""
    told = (headers or {}).get("retry-after", "")
    if told.isdigit():
        return min(float(told), _WAIT_MAX_S)
    longest_s: float = min(0.05 * 2**attempt, _WAIT_MAX_S)
    return longest_s * (0.5 + _CHANCE.random() / 2)


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise MissingExtra(feature="connecting to a service", extra="serve") from None
    return httpx


class _Place:
    """Where a service is, and who asks."""

    def __init__(
        self, url: str, key: str | None = None, *, secret: str | None = None,
        actor: str | None = None, timeout_s: float = TIMEOUT_S, tries: int = TRIES,
        transport: Any = None,
    ) -> None:  # fmt: skip
        self.url = url.rstrip("/")
        self._signer = signer_of(key, secret)
        self._key, self._actor = None if self._signer else key, actor
        self._timeout_s, self._tries = timeout_s, max(1, tries)
        self._transport = transport
        self._httpx = _httpx()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _auth(self) -> Any:
        """What httpx does to each request before it is sent, with every attempt anew."""
        signer = self._signer
        if signer is None:
            return None

        def signed(request: Any) -> Any:
            target = request.url.raw_path.decode("ascii")
            made = signer.header(request.method, target, request.content)
            request.headers["authorization"] = made
            return request

        return signed

    def _stream_headers(self) -> dict[str, str]:
        found = _headers(calls.venue(), self._key, self._actor)
        if self._signer is not None:
            path = self._httpx.URL(streams.address_of(self.url)).raw_path.decode("ascii")
            found["authorization"] = self._signer.header("GET", path)
        return {name: found[name] for name in ("authorization", "solvent-actor") if name in found}

    def _request(self, call: Call[Any]) -> dict[str, Any]:
        return {
            "method": call.method, "url": call.path, "content": call.body or None,
            "params": dict(call.params) or None,
            "headers": _headers(call, self._key, self._actor),
        }  # fmt: skip

    def _again(self, call: Call[Any], attempt: int, answer: Any) -> bool:
        """Whether to try again: what changes nothing, or has a key, may be sent twice; what was
        signed too early for a service that has just begun is signed anew."""
        if attempt + 1 >= self._tries:
            return False
        if answer is None:
            return call.method == "GET" or call.key is not None
        early = answer.status_code == _UNAUTHORISED and "retry-after" in answer.headers
        return answer.status_code in AGAIN or (early and self._signer is not None)

    def _lost(self, fault: Exception) -> Unavailable:
        return Unavailable(0, "UNREACHABLE", f"{self.url}: {fault or type(fault).__name__}")


def _sync(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(make)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(make(*args, **kwargs))

    return method


def _async(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    @wraps(make)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(make(*args, **kwargs))

    return method


class Client(_Place):
    """A venue that is served elsewhere; a context manager. See `calls` for its methods."""

    def __init__(self, url: str, key: str | None = None, **options: Any) -> None:
        super().__init__(url, key, **options)
        self._http = self._httpx.Client(
            base_url=self.url, timeout=self._timeout_s, transport=self._transport,
            auth=self._auth(),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call, again where that is safe. Raises BadInput, ServiceError, Unavailable."""
        for attempt in range(self._tries):
            try:
                answer = self._http.request(**self._request(call))
            except self._httpx.TransportError as fault:
                if not self._again(call, attempt, None):
                    raise self._lost(fault) from fault
                time.sleep(_pause_s(attempt, None))
                continue
            if not self._again(call, attempt, answer):
                break
            time.sleep(_pause_s(attempt, answer.headers))
        return result(call, answer.status_code, answer.content)

    def stream(
        self, *channels: str, after: Mapping[str, int] | int | None = None,
        tries: int | None = None,
    ) -> Iterator[streams.Message]:  # fmt: skip
        """What happens on channels, for ever; goes on by itself where a connection is lost. See
        `streams`."""
        return streams.stream(self.url, self._stream_headers, channels, after, tries=tries)

    submit = _sync(calls.submit)
    submit_all = _sync(calls.submit_all)
    place = _sync(calls.place)
    amend = _sync(calls.amend)
    cancel = _sync(calls.cancel)
    cancel_all = _sync(calls.cancel_all)
    block = _sync(calls.block)
    withdraw_block = _sync(calls.withdraw_block)
    disconnect = _sync(calls.disconnect)
    reset_protection = _sync(calls.reset_protection)
    relieve = _sync(calls.relieve)
    phase = _sync(calls.phase)
    deposit = _sync(calls.deposit)
    withdraw = _sync(calls.withdraw)
    open_account = _sync(calls.open_account)
    orders = _sync(calls.orders)
    book = _sync(calls.book)
    impact = _sync(calls.impact)
    relief = _sync(calls.relief)
    account = _sync(calls.account)
    venue = _sync(calls.venue)
    hash = _sync(calls.hash_)
    plans = _sync(calls.plans)
    tend = _sync(calls.tend)
    audit = _sync(calls.audit)
    journal = _sync(calls.journal)
    journal_row = _sync(calls.journal_row)
    whatif = _sync(calls.whatif)
    margin = _sync(calls.margin)
    compare = _sync(calls.compare)
    liquidation_prices = _sync(calls.liquidation_prices)
    arrays = _sync(calls.arrays)


class AsyncClient(_Place):
    """The same to be awaited; an asynchronous context manager."""

    def __init__(self, url: str, key: str | None = None, **options: Any) -> None:
        super().__init__(url, key, **options)
        self._http = self._httpx.AsyncClient(
            base_url=self.url, timeout=self._timeout_s, transport=self._transport,
            auth=self._auth(),
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call, again where that is safe. Raises BadInput, ServiceError, Unavailable."""
        for attempt in range(self._tries):
            try:
                answer = await self._http.request(**self._request(call))
            except self._httpx.TransportError as fault:
                if not self._again(call, attempt, None):
                    raise self._lost(fault) from fault
                await asyncio.sleep(_pause_s(attempt, None))
                continue
            if not self._again(call, attempt, answer):
                break
            await asyncio.sleep(_pause_s(attempt, answer.headers))
        return result(call, answer.status_code, answer.content)

    def stream(
        self, *channels: str, after: Mapping[str, int] | int | None = None,
        tries: int | None = None,
    ) -> AsyncIterator[streams.Message]:  # fmt: skip
        """What happens on channels, for ever; goes on by itself where a connection is lost. See
        `streams`."""
        return streams.stream_async(self.url, self._stream_headers, channels, after, tries=tries)

    submit = _async(calls.submit)
    submit_all = _async(calls.submit_all)
    place = _async(calls.place)
    amend = _async(calls.amend)
    cancel = _async(calls.cancel)
    cancel_all = _async(calls.cancel_all)
    block = _async(calls.block)
    withdraw_block = _async(calls.withdraw_block)
    disconnect = _async(calls.disconnect)
    reset_protection = _async(calls.reset_protection)
    relieve = _async(calls.relieve)
    phase = _async(calls.phase)
    deposit = _async(calls.deposit)
    withdraw = _async(calls.withdraw)
    open_account = _async(calls.open_account)
    orders = _async(calls.orders)
    book = _async(calls.book)
    impact = _async(calls.impact)
    relief = _async(calls.relief)
    account = _async(calls.account)
    venue = _async(calls.venue)
    hash = _async(calls.hash_)
    plans = _async(calls.plans)
    tend = _async(calls.tend)
    audit = _async(calls.audit)
    journal = _async(calls.journal)
    journal_row = _async(calls.journal_row)
    whatif = _async(calls.whatif)
    margin = _async(calls.margin)
    compare = _async(calls.compare)
    liquidation_prices = _async(calls.liquidation_prices)
    arrays = _async(calls.arrays)


def connect(
    url: str, key: str | None = None, *, secret: str | None = None, **options: Any
) -> Client:
    """A client of a service at `http(s)://…`; `key` proves who calls: the whole of it is sent, or
    where `key` is its id and `secret` its secret each request is signed and the secret stays here.

    Options: `actor` (who asks, where the service lets everybody in), `timeout_s` of one attempt,
    `tries` (attempts, with the same key), `transport` (of httpx).
    """
    return Client(url, key, secret=secret, **options)


def connect_async(
    url: str, key: str | None = None, *, secret: str | None = None, **options: Any
) -> AsyncClient:
    """The same to be awaited."""
    return AsyncClient(url, key, secret=secret, **options)

"""A service that is killed under load: what it acknowledged is there, and streams go on."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from solvent.client import connect
from solvent.journal import Journal
from solvent.messages import commands as c
from solvent.messages.codec import decode_command
from solvent.messages.fields import Side
from tests.engines import ACTOR
from tests.services import made

ACCOUNTS = ("u5", "u6", "u7")
CHANNELS = tuple(f"orders.{name}" for name in ACCOUNTS)
SYMBOL = "BTC_USDC-PERPETUAL"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Process:
    """`solvent serve` as a process of its own, at one port whenever it runs."""

    def __init__(self, url: Path) -> None:
        self._url, self.port = url, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable, "-c", "from solvent.cli import main; main()", "serve", str(self._url),
            "--port", str(self.port), "--hold-time", "--no-tend",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(1_200):
            try:
                if httpx.get(f"{self.address}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, "the service ended"
            time.sleep(0.05)
        raise TimeoutError("the service did not get ready")

    def kill(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Traffic:
    """Clients that place and cancel orders without pause, and note what was acknowledged."""

    def __init__(self, address: str) -> None:
        self._address, self._over = address, threading.Event()
        self.acknowledged: dict[str, int] = {}
        """Key → place in history."""
        self._threads = [
            threading.Thread(target=self._trade, args=(name, seed), daemon=True)
            for seed, name in enumerate(ACCOUNTS)
        ]
        for one in self._threads:
            one.start()

    def _trade(self, account: str, seed: int) -> None:
        draw, number = random.Random(seed), 0
        with connect(self._address, actor=ACTOR, tries=60) as client:
            while not self._over.is_set():
                number += 1
                key = f"{account}.{number}"
                command = c.PlaceOrder(
                    key=key, actor=ACTOR, account=account, order=key, symbol=SYMBOL,
                    side=draw.choice((Side.BUY, Side.SELL)), lots=draw.randint(1, 3),
                    price_ticks=draw.randint(640_000, 660_000),
                )  # fmt: skip
                answer = client.submit(command)
                self.acknowledged[key] = answer.sequence
                time.sleep(0.01)

    def wait_for_more(self, count: int) -> None:
        """Until so many more commands were acknowledged."""
        enough = len(self.acknowledged) + count
        for _ in range(6_000):
            if len(self.acknowledged) >= enough:
                return
            time.sleep(0.01)
        pytest.fail(f"{len(self.acknowledged)} of {enough} commands were acknowledged in a minute")

    def stop(self) -> None:
        self._over.set()
        for one in self._threads:
            one.join(60)
            assert not one.is_alive()


class Listener:
    """Hears a stream across everything."""

    def __init__(self, address: str) -> None:
        self.heard: list[tuple[str, int, str]] = []
        self.fault: BaseException | None = None
        self._address = address
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            with connect(self._address) as client:
                for message in client.stream(*CHANNELS, after=0, tries=60):
                    self.heard += [
                        (message.channel, message.sequence, row["order"]) for row in message.data
                    ]
        except BaseException as fault:
            self.fault = fault


def kills(url: Path, count: int) -> None:
    process = Process(url)
    process.start()
    listener, traffic = Listener(process.address), Traffic(process.address)
    draw = random.Random(count)
    for _ in range(count):
        traffic.wait_for_more(10)
        time.sleep(draw.random() * 0.3)
        process.kill()
        process.start()
    traffic.wait_for_more(10)
    traffic.stop()
    with Journal.open(url, read_only=True) as journal:
        rows = list(journal.read())
    placed = {decode_command(row.command).key: row.sequence for row in rows}
    lost = {key: at for key, at in traffic.acknowledged.items() if placed.get(key) != at}
    assert not lost
    told = [
        (f"orders.{command.account}", row.sequence, command.order)
        for row in rows
        if isinstance(command := decode_command(row.command), c.PlaceOrder)
        and command.account in ACCOUNTS
    ]
    for _ in range(1_200):
        if {one[1] for one in told} <= {one[1] for one in listener.heard}:
            break
        time.sleep(0.05)
    assert listener.fault is None
    process.kill()
    for channel in CHANNELS:
        mine = [at for of, at, _ in listener.heard if of == channel]
        assert mine == sorted(mine), "in order"
    first: dict[str, int] = {}
    for _, at, order in listener.heard:
        first.setdefault(order, at)
    assert {order: at for _, at, order in told} == {
        order: at for order, at in first.items() if order in {one[2] for one in told}
    }
    own = [(at, order) for of, at, order in listener.heard if (of, at, order) in set(told)]
    assert len(own) == len(set(own)) == len(told), "each once"


def test_a_killed_service_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    kills(made(tmp_path), 1)


@pytest.mark.soak
def test_many_kills(tmp_path: Path) -> None:
    kills(made(tmp_path), 25)

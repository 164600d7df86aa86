"""The command line. Commands import what they need when they run, so `--help` is instant."""

from __future__ import annotations

import inspect
import sys
from typing import Final

import typer

from solvent.cli import (
    adl,
    allocate,
    apply,
    backtest,
    books,
    calibrate,
    capital,
    cascade,
    checks,
    clearing,
    credit,
    demo,
    feed,
    hedge,
    journal,
    keys,
    liquidations,
    oracle,
    order,
    order_book,
    order_desk,
    play,
    reconcile,
    record,
    replay,
    rulebooks,
    screen,
    serve,
    soak,
    state,
    stress,
    surface,
    venue,
    watch,
    waterfall,
    whatif,
)
from solvent.cli.kernels import keep_kernels
from solvent.errors import BadInput, MissingExtra, RulebookError, SolventError

EXTRAS: Final = dict.fromkeys(
    ("argon2", "fastapi", "httpx", "nicegui", "prometheus_client", "pydantic_settings",
     "starlette", "uvicorn", "websockets"), "serve",
) | dict.fromkeys(("matplotlib", "plotly"), "plot")  # fmt: skip
"""Packages that a plain installation is without, and the extra that brings them."""

app = typer.Typer(
    name="solvent",
    help="A margin engine for crypto derivatives: who must post what, who cannot pay, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("margin")(books.margin)
app.command("explain")(books.explain)
app.command("compare")(whatif.compare)
app.command("whatif")(whatif.whatif)
app.command("liquidation")(whatif.liquidation)
app.command("attribute")(capital.attribute)
app.command("efficiency")(capital.efficiency)
app.command("hedge")(hedge.hedge)
app.add_typer(allocate.app, name="allocate")
app.command("screen")(screen.screen)
app.add_typer(stress.app, name="stress")
app.command("span")(clearing.span)
app.command("simm")(clearing.simm)
app.command("waterfall")(waterfall.waterfall)
app.add_typer(credit.app, name="credit")
app.command("market")(checks.market)
app.command("surface")(surface.surface)
app.add_typer(calibrate.app, name="calibrate")
app.command("index")(oracle.index)
app.command("conform")(checks.conform)
app.command("rulebooks")(rulebooks.rulebooks)
app.command("init")(venue.init)
app.command("publish")(venue.publish)
app.command("apply")(apply.apply)
app.command("state")(state.state)
app.command("audit")(state.audit)
app.command("replay")(replay.replay)
app.command("backtest")(backtest.backtest)
app.add_typer(cascade.app, name="cascade")
app.command("serve")(serve.serve)
app.add_typer(journal.app, name="journal")
app.add_typer(keys.app, name="keys")
app.add_typer(keys.users_app, name="users")
app.add_typer(keys.hooks_app, name="webhooks")
order.app.command("book")(order_book.book)
order.app.command("markout")(order_book.markout)
order.app.command("relief")(order_desk.relief)
order.app.command("protect")(order_desk.protect)
order.app.command("combo")(order_desk.combo)
order.app.command("phase")(order_desk.phase)
app.add_typer(order.app, name="order")
app.add_typer(reconcile.app, name="reconcile")
app.command("liquidations")(liquidations.liquidations)
app.command("adl")(adl.adl)
app.command("watch")(watch.watch)
watch.app.command("watch")(watch.bench_watch)
app.add_typer(watch.app, name="bench")
app.command("record")(record.record)
app.command("play")(play.play)
app.add_typer(feed.app, name="feed")
app.command("soak")(soak.soak)
app.command("generate")(demo.generate)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        from solvent import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """A margin engine for crypto derivatives: who must post what, who cannot pay, and why."""
    del version  # seen by its callback


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    keep_kernels()
    try:
        app()
    except BadInput as fault:
        more = len(fault.problems) - 1
        hint = "; --skip-bad leaves bad rows out" if _skips_bad(sys.argv[1:2]) else ""
        _fail(f"{fault} (and {more} more{hint})" if more else str(fault))
    except (RulebookError, SolventError) as fault:
        _fail(str(fault))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does.
        sys.stderr.close()
        sys.exit(0)
    except ModuleNotFoundError as fault:
        extra = EXTRAS.get((fault.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(str(MissingExtra(feature=f"solvent {' '.join(sys.argv[1:2])}", extra=extra)))
    except OSError as fault:
        _fail(f"{fault.filename or 'output'}: {fault.strerror or fault}")


def _skips_bad(name: list[str]) -> bool:
    """Whether a command has --skip-bad."""
    return any(
        [one.name] == name and "skip_bad" in inspect.signature(one.callback).parameters
        for one in app.registered_commands
        if one.callback is not None
    )


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)

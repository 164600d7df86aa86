"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MARKET = typer.Option(
    "--market",
    help="A market file: a Deribit chain (CSV), Deribit JSON, or Solvent's own table. May be "
    "given again for tables of futures prices.",
    show_default=False,
)
_POSITIONS = typer.Option(
    "--positions",
    help="account,instrument,size[,entry_price] as CSV, Parquet or JSON; sizes signed, in the "
    "venue's own unit.",
    show_default=False,
)
Url = Annotated[
    str | None,
    typer.Option("--url", help="A service (http://host:port) that is asked instead."),
]
OneAccount = Annotated[
    str | None, typer.Option("--account", help="With --url: one account of that venue.")
]
Market = Annotated[list[Path], _MARKET]
Positions = Annotated[Path, _POSITIONS]
MaybeMarket = Annotated[list[Path] | None, _MARKET]
MaybePositions = Annotated[Path | None, _POSITIONS]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="VENUE[:KEYFILE]",
        help="One's own account at deribit, okx, bybit or binance, beside what the venue reports. "
        "Keys from a file of mode 0600 (TOML: key, secret, for OKX a passphrase), else from the "
        "environment (SOLVENT_OKX_KEY and so on). A key that can only read is enough.",
    ),
]
Collateral = Annotated[
    Path | None,
    typer.Option("--collateral", help="account,asset,amount as CSV, Parquet or JSON."),
]
Orders = Annotated[
    Path | None,
    typer.Option("--orders", help="Open orders: account,instrument,side,size,price."),
]
Modes = Annotated[
    Path | None,
    typer.Option(
        "--modes",
        help="How positions are held: account,instrument,mode[,leverage][,isolated_margin]; mode "
        "is cross, isolated or hedge.",
    ),
]
Inputs = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        help="account,set,input,amount: what a rulebook takes from its user, such as the margin of "
        "open orders (`solvent rulebooks NAME` lists inputs).",
    ),
]
History = Annotated[
    list[Path] | None,
    typer.Option(
        "--history",
        help="Prices over time, of which a rulebook such as fhs makes its scenarios: "
        "time,name,price, or bars as venues write them. May be given again.",
        show_default=False,
    ),
]
Rulebook = Annotated[
    str, typer.Option("--rulebook", help="A shipped rulebook's name, or a path to a .toml.")
]
MaybeRulebook = Annotated[
    str | None,
    typer.Option(
        "--rulebook",
        help="A shipped rulebook's name, or a path to a .toml (default: deribit-pm; with --from "
        "the venue's own).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad rows out and list them, instead of stopping.")
]

"""Solvent: a margin engine for crypto derivatives.

    import solvent as sv

    market = sv.read_market("chain.csv.gz")
    answer = sv.margin("book.csv", market, rulebook="deribit-pm", collateral="balances.csv")
    print(answer)
    answer.to_polars()

Names are loaded when they are used: `import solvent` itself takes a millisecond.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from solvent.answer import Margin
    from solvent.api import margin, prepare, read_market, read_positions
    from solvent.clearing import SimmMargin, SpanMargin, simm, span
    from solvent.client import connect, connect_async
    from solvent.counterfactual import Comparison, replay
    from solvent.credit_run.api import run_credit
    from solvent.errors import BadInput, RulebookError, SolventError
    from solvent.feeds.library import load_rulebook, rulebook_names
    from solvent.host import Engine
    from solvent.lab.capital.allocation import Allocation, allocate
    from solvent.lab.capital.attribution import Attribution, attribute
    from solvent.lab.capital.compression import Compression, Facing, compress
    from solvent.lab.capital.delivery import Delivery, deliver
    from solvent.lab.capital.efficiency import Efficiency, efficiency
    from solvent.lab.capital.hedge import Hedge, hedge
    from solvent.lab.capital.placing import Place
    from solvent.lab.capital.trades import Costs
    from solvent.lab.court.result import CourtResult
    from solvent.lab.court.run import backtest
    from solvent.lab.stress.api import reverse_stress, stress
    from solvent.lab.stress.reverse import Reversal
    from solvent.lab.stress.run import Stressed
    from solvent.levels_answer import LevelsMargin
    from solvent.market_feed import Feed, mark_outs
    from solvent.order_entry import OrderType
    from solvent.order_rows import OpenOrder
    from solvent.outcomes import Outcome
    from solvent.whatif import Desk, Holding, compare, holdings, liquidation_prices

_HOME = {
    "Allocation": "lab.capital.allocation",
    "Attribution": "lab.capital.attribution",
    "BadInput": "errors",
    "Comparison": "counterfactual",
    "Compression": "lab.capital.compression",
    "Costs": "lab.capital.trades",
    "CourtResult": "lab.court.result",
    "Delivery": "lab.capital.delivery",
    "Desk": "whatif",
    "Efficiency": "lab.capital.efficiency",
    "Engine": "host",
    "Facing": "lab.capital.compression",
    "Feed": "market_feed",
    "Hedge": "lab.capital.hedge",
    "Holding": "whatif",
    "LevelsMargin": "levels_answer",
    "Margin": "answer",
    "OpenOrder": "order_rows",
    "OrderType": "order_entry",
    "Outcome": "outcomes",
    "Place": "lab.capital.placing",
    "Reversal": "lab.stress.reverse",
    "RulebookError": "errors",
    "SimmMargin": "clearing",
    "SolventError": "errors",
    "SpanMargin": "clearing",
    "Stressed": "lab.stress.run",
    "allocate": "lab.capital.allocation",
    "attribute": "lab.capital.attribution",
    "backtest": "lab.court.run",
    "compare": "whatif",
    "compress": "lab.capital.compression",
    "connect": "client",
    "connect_async": "client",
    "deliver": "lab.capital.delivery",
    "efficiency": "lab.capital.efficiency",
    "hedge": "lab.capital.hedge",
    "holdings": "whatif",
    "liquidation_prices": "whatif",
    "load_rulebook": "feeds.library",
    "margin": "api",
    "mark_outs": "market_feed",
    "prepare": "api",
    "read_market": "api",
    "read_positions": "api",
    "replay": "counterfactual",
    "reverse_stress": "lab.stress.api",
    "rulebook_names": "feeds.library",
    "run_credit": "credit_run.api",
    "simm": "clearing",
    "span": "clearing",
    "stress": "lab.stress.api",
}
__all__ = [
    "Allocation",
    "Attribution",
    "BadInput",
    "Comparison",
    "Compression",
    "Costs",
    "CourtResult",
    "Delivery",
    "Desk",
    "Efficiency",
    "Engine",
    "Facing",
    "Feed",
    "Hedge",
    "Holding",
    "LevelsMargin",
    "Margin",
    "OpenOrder",
    "OrderType",
    "Outcome",
    "Place",
    "Reversal",
    "RulebookError",
    "SimmMargin",
    "SolventError",
    "SpanMargin",
    "Stressed",
    "__version__",
    "allocate",
    "attribute",
    "backtest",
    "compare",
    "compress",
    "connect",
    "connect_async",
    "deliver",
    "efficiency",
    "hedge",
    "holdings",
    "liquidation_prices",
    "load_rulebook",
    "margin",
    "mark_outs",
    "prepare",
    "read_market",
    "read_positions",
    "replay",
    "reverse_stress",
    "rulebook_names",
    "run_credit",
    "simm",
    "span",
    "stress",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'solvent' has no attribute {name!r}")
    return getattr(import_module(f"solvent.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

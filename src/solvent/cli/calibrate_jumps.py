"""`solvent calibrate jumps`: laws of jumps from a history and from a chain, and their scenarios."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solvent.cli import options

if TYPE_CHECKING:
    from solvent.pricing.jump_surface import SurfaceModel
    from solvent.scenarios.history.series import Series
    from solvent.scenarios.jumps import Response
    from solvent.units import Float64


class Law(StrEnum):
    """What is fitted to a history."""

    KOU = "kou"
    MERTON = "merton"


class Model(StrEnum):
    """What is fitted to a surface."""

    MERTON = "merton"
    KOU = "kou"
    SVCJ = "svcj"


class After(StrEnum):
    """What volatility does after a jump."""

    STICKY = "sticky"
    MEASURED = "measured"
    MODEL = "model"


def jumps(
    files: Annotated[
        list[Path],
        typer.Argument(help="Price histories: bars with a close, or rows time,name,price."),
    ],
    coin: Annotated[
        str | None, typer.Option("--coin", help="Whose history, where the files do not tell.")
    ] = None,
    law: Annotated[Law, typer.Option("--law", help="Whose jumps.")] = Law.KOU,
    hours: Annotated[
        float, typer.Option("--hours", min=0.25, max=168, help="Hours of one return.")
    ] = 24.0,
    days: Annotated[
        float, typer.Option("--days", min=0.04, help="Horizon of the scenarios, in days.")
    ] = 1.0,
    surface: Annotated[
        Path | None, typer.Option("--surface", help="A chain: fit a model to it besides.")
    ] = None,
    model: Annotated[Model, typer.Option("--model", help="Fitted to the chain.")] = Model.SVCJ,
    after: Annotated[
        After,
        typer.Option(
            "--after",
            help="Volatility after a jump: sticky, as measured in the history's surfaces, or the "
            "SVCJ model's of the chain.",
        ),
    ] = After.STICKY,
    json: options.Json = False,
) -> None:
    """Fit jumps to the returns of a history, and to the volatilities of a chain.

    Shows the law with standard errors, what part of the variance is jumps, the jumps that a test
    without a law finds, and the scenarios with their probabilities over the horizon.
    """
    from solvent.cli import console
    from solvent.feeds.histories import read_history

    series = read_history(files, name=coin)
    fits = {} if surface is None else _surfaces(surface, series, model)
    document: dict[str, Any] = {"coins": {}}
    for name in series.names:
        response = _response(series, name, after, fits.get(name), hours)
        document["coins"][name] = _jumps_of(series, name, law, hours, days, response)
    if surface is not None:
        document["surface"] = {name: _told(fit) for name, fit in fits.items()}
    if json:
        console.print_json(document)
    else:
        _print(document)


def _response(
    series: Series, name: str, after: After, fit: SurfaceModel | None, hours: float
) -> Response:
    from solvent.pricing.jump_after import ModelResponse
    from solvent.pricing.transforms import Svcj
    from solvent.scenarios.jumps import STICKY, measure_response

    if after is After.STICKY:
        return STICKY
    if after is After.MODEL:
        if fit is None or fit.kind != "svcj" or not isinstance(fit.characteristic, Svcj):
            raise typer.BadParameter(f"--after model needs --surface with options of {name}, svcj")
        return ModelResponse(model=fit.characteristic)
    if series.level is None or series.skew is None or series.term is None:
        raise typer.BadParameter("--after measured needs a history with surfaces")
    column = series.names.index(name)
    told = [part[:, column] for part in (series.price, series.level, series.skew, series.term)]
    x, level, skew, term = _changes(series, told, hours)
    return measure_response(x, level=level, skew=skew, term=term)


def _changes(series: Series, told: list[Float64], hours: float) -> list[Float64]:
    """Log move and changes of level, skew and term over windows of so many hours, from each moment
    to the last one known by then."""
    import numpy as np

    known = np.flatnonzero(np.all([np.isfinite(one) for one in told], axis=0))
    time_ms, step = series.time_ms[known], round(hours * 3_600_000)
    end = np.searchsorted(time_ms, time_ms + step, side="right") - 1
    whole = (time_ms[end] - time_ms > step // 2) & (time_ms + step <= time_ms[-1])
    columns = [np.log(told[0][known]), *(one[known] for one in told[1:])]
    return [np.asarray((one[end] - one)[whole]) for one in columns]


def _jumps_of(
    series: Series, name: str, law: Law, hours: float, days: float, response: Response
) -> dict[str, Any]:
    from solvent.pricing.jump_fit import fit_kou, fit_merton
    from solvent.pricing.jump_tests import find_jumps
    from solvent.scenarios.jumps import jump_shocks

    returns = _returns(series, name, hours)
    fit = (fit_kou if law is Law.KOU else fit_merton)(
        returns, years_per_return=hours / 24.0 / 365.0
    )
    found = find_jumps(returns)
    shocks = jump_shocks({name: fit.law}, days=days, responses={name: response})
    columns = {
        "move": shocks.move[0], "probability": shocks.weight, "level": shocks.level[0],
        "skew": shocks.skew[0], "term": shocks.term[0],
    }  # fmt: skip
    return {
        "law": law.value,
        "returns": fit.returns,
        "parameters": {one: getattr(fit.law, one) for one in type(fit.law).__slots__},
        "error": fit.error,
        "jump_share": fit.jump_share,
        "p_value_no_jumps": fit.p_value,
        "bic": fit.bic,
        "notes": [note.value for note in fit.notes],
        "test": {"jumps": len(found), "variance_share": found.variance_share,
                 "threshold": found.threshold},
        "scenarios": [
            {key: float(column[k]) for key, column in columns.items()} for k in range(len(shocks))
        ],
    }  # fmt: skip


def _returns(series: Series, name: str, hours: float) -> Float64:
    """Log returns of one coin over whole steps that have prices at both ends."""
    import numpy as np

    time_ms, price = prices_of(series, name)
    step = round(hours * 3_600_000)
    grid = np.arange(-(-int(time_ms[0]) // step), int(time_ms[-1]) // step + 1) * step
    last = np.searchsorted(time_ms, grid, side="right") - 1
    fresh = grid - time_ms[last] < step
    both = fresh[1:] & fresh[:-1]
    return np.asarray(np.diff(np.log(price[last]))[both])


def prices_of(series: Series, name: str) -> tuple[Any, Any]:
    """Times and prices of one coin, in order, each time once; the last told counts."""
    import numpy as np

    column = series.price[:, series.names.index(name)]
    known = np.flatnonzero(np.isfinite(column))
    time_ms, last = np.unique(series.time_ms[known][::-1], return_index=True)
    return time_ms, column[known][::-1][last]


def _surfaces(chain: Path, series: Series, model: Model) -> dict[str, SurfaceModel]:
    """A model of each coin of the history that the chain has options on."""
    from solvent.feeds.market import read_market
    from solvent.pricing.jump_surface import VolPoints, fit_surface_model
    from solvent.pricing.option_quotes import gate, quotes_of

    everything = quotes_of(read_market([chain], skip_bad=True).snapshot)
    found: dict[str, SurfaceModel] = {}
    for name in sorted({book[0] for book in everything.books} & set(series.names)):
        quotes = everything.of({name})
        gated = gate(quotes)
        used = gated.usable & (quotes.is_call == (gated.k >= 0.0))
        points = VolPoints(years=quotes.years[used], k=gated.k[used], vol=gated.vol[used])
        found[name] = fit_surface_model(points, kind=model.value)
    return found


def _told(fit: SurfaceModel) -> dict[str, Any]:
    return {
        "model": fit.kind,
        "parameters": fit.parameters,
        "rmse": fit.rmse,
        "median": fit.median,
        "expiries": [
            {"days": years * 365.0, "points": count, "rmse": rmse}
            for years, count, rmse in fit.by_expiry()
        ],
        "notes": [note.value for note in fit.notes],
    }


def _print(document: dict[str, Any]) -> None:
    from solvent.cli.console import out, table

    for name, one in document["coins"].items():
        out.print(
            f"[bold]{name}[/bold]: {one['law']} law of {one['returns']:,} returns; jumps are "
            f"{one['jump_share']:.0%} of the variance (no jumps: p = {one['p_value_no_jumps']:.1g})"
        )
        shown = table("", "parameter", "value", "standard error", left=["parameter"])
        for key, value in one["parameters"].items():
            error = one["error"].get(key)
            shown.add_row(key, f"{value:.4g}", "-" if error is None else f"{error:.2g}")
        out.print(shown)
        test = one["test"]
        out.print(
            f"without a law: {test['jumps']} returns beyond {test['threshold']:.1f} local "
            f"deviations; {test['variance_share']:.0%} of the variance beyond bipower variation"
        )
        moves = table("", "move", "probability", "volatility")
        for row in one["scenarios"]:
            factor = 2.718281828459045 ** row["level"] - 1.0
            moves.add_row(f"{row['move']:+.1%}", f"{row['probability']:.3%}", f"{factor:+.0%}")
        out.print(moves)
        for note in one["notes"]:
            out.print(f"  {note}", markup=False)
    for name, one in document.get("surface", {}).items():
        told = ", ".join(f"{key} {value:.3g}" for key, value in one["parameters"].items())
        out.print(f"[bold]{name} surface[/bold], {one['model']}: {told}")
        out.print(
            f"  volatility points: root mean square {100 * one['rmse']:.2f}, "
            f"median {100 * one['median']:.2f}"
        )
        for note in one["notes"]:
            out.print(f"  {note}", markup=False)

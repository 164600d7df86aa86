"""A fitted surface as a document, as one HTML file that needs no network, and as a picture.

Horizontal axes are log(K/F) in standard deviations of the expiry at the money, so that all
expiries of a book share one.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from solvent.errors import MissingExtra
from solvent.instruments.contract import moment_of
from solvent.market import Flag, Snapshot
from solvent.market.surface import Surface
from solvent.pricing.surface_fit import SurfaceFit
from solvent.pricing.surface_market import fill, mark_bands
from solvent.pricing.surface_time import vol_at
from solvent.units import Float64

_INK, _GRID = "#1d2a33", "#e4e9ec"
_REACH = 3.5
_PLACES = 141
_PERCENT = 100.0
_DAYS = 365.0
_SHEET_TIMES = 40


def surface_document(snapshot: Snapshot, fit: SurfaceFit) -> dict[str, Any]:
    """What `solvent surface --json` prints. Volatilities are fractions, rates per year.

    `implied_rate` is log(forward/index) per year; numbers of an UNKNOWN expiry are None. `filled`
    are options without a volatility of their own, `outside_bands` those whose mark is not near.
    """
    surface = fit.surface
    return {
        "as_of": moment_of(surface.as_of_ms).isoformat(),
        "expiries": [_expiry(snapshot, fit, one) for one in range(len(surface))],
        "ssvi": {
            "/".join(book): {"rho": shape.rho, "eta": shape.eta, "gamma": shape.gamma}
            for book, shape in fit.ssvi.items()
        },
        "left_out": _counts([reason.value for reason in fit.left_out.values()]),
        "quote_faults": _counts([fault.value for fault in fit.quote_faults.values()]),
        "overall": _overall(fit),
        **_in_market(snapshot, fit.surface),
    }


def _in_market(snapshot: Snapshot, surface: Surface) -> dict[str, list[str]]:
    """Options whose volatility the surface would give, and those whose mark it does not believe."""
    symbols = snapshot.universe.symbols
    filled = (fill(snapshot, surface).flags & Flag.VOL_FITTED) != 0
    return {
        "filled": [symbols[row] for row in np.flatnonzero(filled)],
        "outside_bands": [symbols[row] for row in mark_bands(snapshot, surface).outside(snapshot)],
    }


def _expiry(snapshot: Snapshot, fit: SurfaceFit, one: int) -> dict[str, Any]:
    surface, report = fit.surface, fit.reports[one]
    book, years = surface.books[surface.book[one]], float(surface.years[one])
    forward = float(surface.forward[one])
    index = snapshot.price_of(book[0])
    implied = float(np.log(forward / index) / years) if index and forward > 0.0 else None
    smile = {
        name: float(column[one])
        for name, column in zip(
            ["a", "b", "rho", "m", "sigma"], surface.smiles.columns, strict=True
        )
    }
    known = bool(surface.known[one])
    return {
        "underlying": book[0],
        "settlement": book[1],
        "expiry": moment_of(int(surface.expiry_ms[one])).isoformat(),
        "days": years * _DAYS,
        "forward": forward,
        "forward_from": "parity" if _by_parity(snapshot, book, int(surface.expiry_ms[one])) else
        "quote",
        "implied_rate": implied,
        "discount_rate": float(surface.rate[one]),
        "kind": report.kind.name.lower(),
        "reason": report.reason,
        "atm_vol": _told(report.atm_vol),
        "skew": _told(report.skew),
        "smile": smile if known else None,
        "used": report.used,
        "left_out": dict(report.left_out),
        "compared": report.compared,
        "residual_median": _told(report.residual_median),
        "residual_p95": _told(report.residual_p95),
        "residual_max": _told(report.residual_max),
        "outside_quotes": report.outside_quotes,
        "butterflies_in_quotes": report.butterflies,
        "calendars_in_quotes": report.calendars,
    }  # fmt: skip


def _by_parity(snapshot: Snapshot, book: tuple[str, str], expiry_ms: int) -> bool:
    universe, curves = snapshot.universe, snapshot.curves
    for one in np.flatnonzero(curves.expiry_ms == expiry_ms):
        names = (
            universe.underlyings[curves.underlying[one]],
            universe.settlements[curves.settlement[one]],
        )
        if names == book:
            return bool(curves.by_parity[one])
    return False


def _told(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _counts(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _overall(fit: SurfaceFit) -> dict[str, Any]:
    points = fit.points
    within = points.within_delta(fit.surface.years)
    error = np.abs(points.fitted - points.told)[within]
    told = bool(error.size)
    return {
        "compared": int(error.size),
        "residual_median": float(np.median(error)) if told else None,
        "residual_p95": float(np.quantile(error, 0.95)) if told else None,
    }


def _deviations(surface: Surface, one: int) -> float:
    """One standard deviation of log(K/F) at the money."""
    return float(np.sqrt(surface.total_variance(one, 0.0)))


def _label(surface: Surface, one: int) -> str:
    return f"{moment_of(int(surface.expiry_ms[one])):%d %b %y}"


def _line(surface: Surface, one: int) -> tuple[Float64, Float64]:
    """(standard deviations, volatility in points) of a slice's smile."""
    z = np.linspace(-_REACH, _REACH, _PLACES)
    return z, surface.vol(one, z * _deviations(surface, one)) * _PERCENT


def _points(fit: SurfaceFit, one: int) -> tuple[Float64, Float64, Float64]:
    """(standard deviations, told, fitted) of a slice's points inside the picture."""
    points = fit.points
    z = points.k / _deviations(fit.surface, one)
    mine = (points.slice == one) & (np.abs(z) <= _REACH)
    return z[mine], points.told[mine] * _PERCENT, points.fitted[mine] * _PERCENT


# ── the picture ──────────────────────────────────────────────────────────────────────────────────


def draw_png(fit: SurfaceFit, path: Path) -> None:
    """A row a book: smiles with what was told, residuals, and volatility at the money by time.

    Raises MissingExtra without matplotlib (`solvent[plot]`).
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise MissingExtra(feature="a picture of a surface", extra="plot") from fault
    surface = fit.surface
    books = [book for book in surface.books if surface.of(book).size]
    figure = Figure(figsize=(17.0, 0.8 + 5.0 * max(1, len(books))), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Implied volatility, {moment_of(surface.as_of_ms):%Y-%m-%d %H:%M} UTC: "
        "lines fitted, dots told",
        color=_INK,
    )
    axes = figure.subplots(max(1, len(books)), 3, squeeze=False, width_ratios=(1.5, 1.2, 0.9))
    for row, book in zip(axes, books, strict=False):
        _draw_book(fit, book, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _draw_book(fit: SurfaceFit, book: tuple[str, str], axes: Any) -> None:
    from matplotlib import colormaps

    smiles, residuals, term = axes
    surface = fit.surface
    rows = surface.of(book)
    colours = colormaps["viridis"](np.linspace(0.0, 0.93, len(rows)))
    for one, colour in zip(rows.tolist(), colours, strict=True):
        smiles.plot(*_line(surface, one), color=colour, lw=1.3, label=_label(surface, one))
        z, told, fitted = _points(fit, one)
        smiles.plot(z, told, "o", color=colour, ms=2.8)
        residuals.plot(z, fitted - told, "o", color=colour, ms=2.8)
    smiles.set_title("/".join(dict.fromkeys(book)) + ": smiles")
    smiles.set_ylabel("volatility, %")
    smiles.legend(fontsize=7, ncols=2, frameon=False)
    residuals.axhline(0.0, color=_INK, lw=0.8)
    limit = 1.1 * max(1.0, _band_error(fit, rows))
    residuals.set_ylim(-limit, limit)
    residuals.axvspan(-1.645, 1.645, color=_GRID, alpha=0.6, zorder=0)
    residuals.set_title("fitted less told, vol points (grey: |delta| 5 to 95 %)")
    for one in (smiles, residuals):
        one.set_xlabel("log(K/F), standard deviations at the money")
        one.grid(color=_GRID)
    term.plot(surface.years[rows] * _DAYS, surface.vol(rows, 0.0) * _PERCENT, "o-", color="#35617d")
    term.set_xscale("log")
    term.set_xlabel("days")
    term.set_title("at the money, %")
    term.grid(color=_GRID)


def _band_error(fit: SurfaceFit, rows: Any) -> float:
    """Largest error in the compared band, in points."""
    found = [fit.reports[int(one)].residual_max for one in rows]
    return float(np.nanmax([*found, 0.0])) * _PERCENT


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def write_surface_html(snapshot: Snapshot, fit: SurfaceFit, path: Path) -> None:
    """Write the page. Raises MissingExtra without plotly (`solvent[plot]`)."""
    try:
        from plotly import graph_objects
    except ImportError as fault:
        raise MissingExtra(feature="a report with plots", extra="plot") from fault
    surface = fit.surface
    plots: list[str] = []
    for book in surface.books:
        rows = surface.of(book)
        if rows.size:
            for draw in (_sheet, _smile_lines, _residual_dots):
                figure = draw(fit, book, graph_objects)
                plots.append(_html(figure, library=not plots))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(surface_document(snapshot, fit), plots), "utf-8")


def _html(figure: Any, *, library: bool) -> str:
    config = {"displayModeBar": False, "responsive": True}
    found = figure.to_html(full_html=False, include_plotlyjs=library, config=config)
    return f'<section class="plot">{found}</section>'


def _layout(figure: Any, title: str, **axes: Any) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0.01, "font": {"size": 15}}, template="plotly_white",
        font={"family": "system-ui, sans-serif", "color": _INK, "size": 12}, height=460,
        margin={"l": 70, "r": 20, "t": 46, "b": 46}, **axes,
    )  # fmt: skip
    return figure


def _sheet(fit: SurfaceFit, book: tuple[str, str], go: Any) -> Any:
    """The whole surface: volatility over standard deviations and time."""
    surface = fit.surface
    rows = surface.of(book)
    years = np.geomspace(surface.years[rows[0]], surface.years[rows[-1]], _SHEET_TIMES)
    z = np.linspace(-2.5, 2.5, 61)
    deviation = vol_at(surface, book, k=0.0, years=years) * np.sqrt(years)
    vol = vol_at(surface, book, k=z[None, :] * deviation[:, None], years=years[:, None])
    figure = go.Figure(
        go.Surface(
            x=z, y=years * _DAYS, z=vol * _PERCENT, colorscale="Viridis",
            hovertemplate="%{x:.2f} deviations, %{y:.1f} days: %{z:.2f} %<extra></extra>",
        )
    )  # fmt: skip
    scene = {
        "xaxis": {"title": "deviations"}, "yaxis": {"title": "days", "type": "log"},
        "zaxis": {"title": "volatility, %"}, "camera": {"eye": {"x": -1.5, "y": -1.6, "z": 0.9}},
    }  # fmt: skip
    return _layout(figure, f"{'/'.join(dict.fromkeys(book))}: surface", scene=scene)


def _smile_lines(fit: SurfaceFit, book: tuple[str, str], go: Any) -> Any:
    figure = go.Figure()
    for one, colour in _coloured(fit, book):
        z, vol = _line(fit.surface, one)
        name = _label(fit.surface, one)
        line, marker = {"color": colour, "width": 1.6}, {"color": colour, "size": 5}
        figure.add_trace(go.Scatter(x=z, y=vol, name=name, legendgroup=name, line=line))
        z, told, _ = _points(fit, one)
        figure.add_trace(
            go.Scatter(
                x=z, y=told, mode="markers", name=name, legendgroup=name, showlegend=False,
                marker=marker,
            )
        )  # fmt: skip
    return _layout(
        figure, "Smiles: lines fitted, dots told", xaxis={"title": "deviations at the money"},
        yaxis={"title": "volatility, %", "gridcolor": _GRID},
    )  # fmt: skip


def _residual_dots(fit: SurfaceFit, book: tuple[str, str], go: Any) -> Any:
    figure = go.Figure()
    for one, colour in _coloured(fit, book):
        z, told, fitted = _points(fit, one)
        figure.add_trace(
            go.Scatter(
                x=z, y=fitted - told, mode="markers", name=_label(fit.surface, one),
                marker={"color": colour, "size": 5},
            )
        )  # fmt: skip
    limit = 1.1 * max(1.0, _band_error(fit, fit.surface.of(book)))
    figure.add_vrect(x0=-1.645, x1=1.645, fillcolor=_GRID, opacity=0.5, line_width=0, layer="below")
    return _layout(
        figure, "Residuals: fitted less told, vol points (grey: |delta| 5 to 95 %)",
        xaxis={"title": "deviations at the money"},
        yaxis={"range": [-limit, limit], "gridcolor": _GRID},
    )  # fmt: skip


def _coloured(fit: SurfaceFit, book: tuple[str, str]) -> list[tuple[int, str]]:
    """Slices with colours from violet, the nearest, to yellow."""
    rows = fit.surface.of(book).tolist()
    parts = np.linspace(0.0, 1.0, max(2, len(rows)))
    return [
        (one, f"hsl({270 - 220 * part:.0f},60%,{40 + 10 * part:.0f}%)")
        for one, part in zip(rows, parts, strict=False)
    ]


_COLUMNS = {
    "underlying": "{}", "expiry": "{:.10}", "days": "{:.1f}", "forward": "{:,.2f}",
    "implied_rate": "{:+.2%}", "kind": "{}", "atm_vol": "{:.2%}", "skew": "{:+.3f}", "used": "{}",
    "residual_median": "{:.3%}", "residual_p95": "{:.3%}", "butterflies_in_quotes": "{}",
    "calendars_in_quotes": "{}", "reason": "{}",
}  # fmt: skip


def _page(document: dict[str, Any], plots: list[str]) -> str:
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in _COLUMNS)
    rows = []
    for expiry in document["expiries"]:
        cells = (
            "-" if expiry[name] is None else form.format(expiry[name])
            for name, form in _COLUMNS.items()
        )
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    left = "".join(
        f"<li>{count:,} rows: {escape(reason)}</li>"
        for part in ("left_out", "quote_faults")
        for reason, count in document[part].items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solvent: implied volatility</title><style>{_STYLE}</style></head><body>
<h1>Implied volatility, {escape(document["as_of"][:16].replace("T", " "))} UTC</h1>
{"".join(plots)}<h2>Expiries</h2>
<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>
<h2>Not among the points of the fit</h2><ul>{left or "<li>nothing</li>"}</ul>
</body></html>
"""


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2a33;max-width:1180px;margin:0 auto;padding:24px}
h1{font-size:26px}h2{font-size:19px;margin-top:36px}.plot{margin:14px 0}
table{border-collapse:collapse;width:100%;font-size:12px}
th,td{padding:4px 6px;border-bottom:1px solid #e4e9ec;text-align:left}
"""

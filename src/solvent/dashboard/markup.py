"""View-models as HTML: tables with scopes and captions, states with signs and words.

All that comes from outside (names, texts) goes through `text.safe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from solvent.dashboard import text as t
from solvent.dashboard.holding import Edges, Explained, Heat, Held, Worth
from solvent.dashboard.theme import SIGNS, Palette, mixed, readable
from solvent.dashboard.venue_view import STATES, News, Urgent, VenueView
from solvent.solvency.classes import State as Class
from solvent.units import MICRO

Row = Sequence[str]


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Row], *, left: int = 1, kind: str = "",
    shown: bool = False, here: Iterable[int] = (),
) -> str:  # fmt: skip
    """A table whose first column heads its rows; cells are HTML. `left` columns are words, `here`
    are rows to stand out."""
    marked = set(here)
    head = "".join(
        f'<th scope="col"{_left(place < left)}>{one}</th>' for place, one in enumerate(heads)
    )
    body = []
    for number, row in enumerate(rows):
        cells = "".join(
            f'<th scope="row">{one}</th>' if not place else f"<td{_left(place < left)}>{one}</td>"
            for place, one in enumerate(row)
        )
        body.append(f"<tr{' class=here' if number in marked else ''}>{cells}</tr>")
    if not body:
        body.append(f'<tr><td class="l sv-muted" colspan="{len(heads)}">none</td></tr>')
    hidden = "" if shown else ' class="sv-hidden"'
    return (
        f'<div class="sv-scroll" tabindex="0" role="group" aria-label="{t.safe(caption)}">'
        f'<table class="sv-t {kind}"><caption{hidden}>{t.safe(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _left(words: bool) -> str:
    return ' class="l"' if words else ""


def state(one: Class) -> str:
    """A state by colour, sign and word."""
    word = one.name.lower()
    return f'<span class="sv-state sv-{word}"><b aria-hidden="true">{SIGNS[one]}</b>{word}</span>'


def signed(value: float | None, shown: str) -> str:
    """A gain or a loss: coloured, and with its sign."""
    if value is None or value == 0:
        return shown
    kind = "gain" if value > 0 else "loss"
    return f'<span class="sv-{kind}">{"+" if value > 0 else ""}{shown}</span>'


def link_to(name: str) -> str:
    """Where an account's page is.

    >>> link_to("desk/a b")
    '/account/desk%2Fa%20b'
    """
    return f"/account/{quote(name, safe='')}"


def account_link(name: str) -> str:
    """A name that leads to the account's page."""
    return f'<a href="{link_to(name)}" class="sv-mono">{t.safe(name)}</a>'


def kpis(rows: Iterable[tuple[str, str, str]]) -> str:
    """Label, figure, and what to know of it."""
    cells = "".join(
        f'<div class="sv-kpi"><dt>{label}</dt><dd>{figure}<small>{note or "&nbsp;"}</small></dd>'
        "</div>"
        for label, figure, note in rows
    )
    return f'<dl class="sv-kpis" style="margin:0">{cells}</dl>'


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


def venue_kpis(view: VenueView) -> str:
    """Prices, requirement and collateral, the fund, who is below, how fast."""
    rows = []
    first = view.history[0].prices if view.history else {}
    for name, price in list(view.prices.items())[:2]:
        move = price / first[name] - 1.0 if first.get(name) else None
        vol = view.vols.get(name)
        note = signed(move, t.percent(move))
        rows.append(
            (f"{t.safe(name)} index", f"${t.number(price)}",
             f"{note} · vol {t.percent(vol)}" if vol else note)
        )  # fmt: skip
    total = view.total
    cover = total.equity_micro / total.initial_micro if total.initial_micro else None
    below = view.stands[Class.LIQUIDATE]
    unknown = view.stands[Class.UNKNOWN].accounts
    rows += [
        ("Accounts' equity", t.short_dollars(total.equity_micro),
         "–" if cover is None else f"{cover:.2f}× initial margin"),
        ("Initial margin", t.short_dollars(total.initial_micro),
         f"maintenance {t.short_dollars(total.maintenance_micro)}"),
        ("Below maintenance", f"{below.accounts:,}",
         f"{view.calls:,} calls · {unknown:,} unknown"),
        ("Insurance fund", t.short_dollars(view.fund_total_micro),
         f"uncovered {t.short_dollars(total.shortfall_micro)}"),
        ("Tick to figures", f"{view.latency.half_ms:,.0f} ms",
         f"99 % {view.latency.most_ms:,.0f} · page {view.latency.page_ms:,.0f} ms"),
    ]  # fmt: skip
    return kpis(rows)


def states_table(view: VenueView) -> str:
    """Accounts by state with their money."""
    rows = [
        [state(one), f"{stands.accounts:,}", t.short_dollars(stands.equity_micro),
         t.short_dollars(stands.maintenance_micro), t.short_dollars(stands.shortfall_micro)]
        for one, stands in view.stands.items()
    ]  # fmt: skip
    return table(
        "Accounts by state", ("state", "accounts", "equity", "maintenance", "shortfall"), rows
    )


def ladder_table(view: VenueView, colours: Palette) -> str:
    """Who falls if all prices gap, with bars."""
    most = max((one.fallen for one in view.ladder), default=1) or 1
    rows = []
    for one in view.ladder:
        width = 100 * one.fallen / most
        bar = (
            f'<div class="sv-barbox" aria-hidden="true"><span style="width:{width:.1f}%;'
            f'background:{colours.liquidate}"></span></div>'
        )
        rows.append(
            [t.percent(one.gap, 0, sign=True) if one.gap else "now", bar, f"{one.fallen:,}",
             t.short(one.notional_dollars, 1), t.short(one.shortfall_micro / MICRO, 1)]
        )  # fmt: skip
    now = [place for place, one in enumerate(view.ladder) if one.gap == 0.0]
    return table(
        "Gap ladder: accounts below maintenance if all prices gap",
        ("gap", "", "accounts", "hold $", "short $"), rows, kind="sv-bars", here=now,
    )  # fmt: skip


def delta_table(view: VenueView) -> str:
    """Solvency-delta by underlying."""
    rows = []
    for name, one in view.deltas.items():
        worst = min(one.down, one.up)
        rows.append(
            [t.safe(name), f"{one.accounts:,}", t.short_dollars(one.delta),
             signed(worst, t.short_dollars(worst)), t.percent(one.share),
             t.short_dollars(one.hedge) + ("" if one.restored else " *")]
        )  # fmt: skip
    note = ""
    if any(not one.restored for one in view.deltas.values()):
        note = (
            '<p class="sv-note">* no hedge alone keeps both gaps within a quarter of the fund</p>'
        )
    return (
        table("Solvency-delta: accounts near ruin as one book", ("underlying", "accounts",
              "delta", "10 % gap", "of the fund", "hedge"), rows) + note
    )  # fmt: skip


def urgent_table(urgent: Sequence[Urgent]) -> str:
    """The accounts nearest to ruin."""
    rows = [
        [account_link(one.account), state(one.state), t.short_dollars(one.equity_micro),
         t.short_dollars(one.maintenance_micro), _health(one.share)]
        for one in urgent
    ]  # fmt: skip
    return table(
        "Most urgent accounts", ("account", "state", "equity", "maintenance", "health"), rows,
        left=2,
    )  # fmt: skip


def _health(share: float | None) -> str:
    """Health over equity; far below nothing it says no more than that."""
    return "below −999 %" if share is not None and share < -9.99 else t.percent(share)


_KINDS = {
    "call": Class.CALL, "warning": Class.WARNING, "liquidation": Class.LIQUIDATE,
    "loss": Class.LIQUIDATE, "well": Class.HEALTHY,
}  # fmt: skip


def news_list(news: Sequence[News], *, most: int = 40) -> str:
    """Calls and liquidations as they come."""
    if not news:
        return '<p class="sv-note">Nothing yet: calls and liquidations are told here.</p>'
    rows = "".join(
        f"<li><time>{t.clock(one.time_ms)}</time><span>{account_link(one.account)}</span>"
        f'<span class="sv-{one.kind}">{SIGNS[_KINDS[one.kind]]} {t.safe(one.text)}</span></li>'
        for one in news[:most]
    )
    return f'<ul class="sv-feed" tabindex="0" aria-label="Calls and liquidations">{rows}</ul>'


def states_words(view: VenueView) -> str:
    """The states in one sentence, for who does not see the page."""
    told = ", ".join(f"{view.stands[one].accounts:,} {one.name.lower()}" for one in STATES)
    return f"{view.accounts:,} accounts: {told}"


# ── an account ───────────────────────────────────────────────────────────────────────────────────


def margin_bar(
    equity: float, initial: float, maintenance: float, colours: Palette, *, known: bool
) -> str:
    """Equity against both margins on one scale."""
    if not known:
        return '<p class="sv-note">The margin of this account is not known now.</p>'
    most = max(equity, initial, maintenance, 1e-9) * 1.06
    used = maintenance / equity if equity > 0 else None
    colour = (
        colours.liquidate if equity < maintenance else colours.call if equity < initial
        else colours.healthy
    )  # fmt: skip
    width = max(0.0, 100 * equity / most)
    words = (
        f"equity {t.number(equity)} dollars, initial margin {t.number(initial)}, maintenance "
        f"margin {t.number(maintenance)}"
    )
    return (
        f'<div class="sv-margin" role="img" aria-label="{words}">'
        f'<span style="width:{width:.2f}%;background:{colour};opacity:.55"></span>'
        f'<i style="left:{100 * initial / most:.2f}%" title="initial margin"></i>'
        f'<i style="left:{100 * maintenance / most:.2f}%;background:{colours.liquidate}" '
        'title="maintenance margin"></i></div>'
        f'<div class="sv-legend"><span>equity <b>${t.number(equity)}</b></span>'
        f"<span>│ initial <b>${t.number(initial)}</b></span>"
        f"<span>│ maintenance <b>${t.number(maintenance)}</b></span>"
        f"<span>available <b>{signed(equity - initial, t.number(equity - initial))}</b></span>"
        f"<span>maintenance over equity <b>{t.percent(used)}</b></span></div>"
    )


def positions_table(positions: Sequence[Held], edges: Mapping[str, Edges]) -> str:
    """Positions with where their underlying would liquidate the account."""
    rows = []
    for one in positions:
        edge = edges.get(one.underlying)
        near = None if edge is None else edge.nearest()
        price = None if edge is None or near is None else edge.price * (1.0 + near)
        name = t.safe(one.symbol) + (" · isolated" if one.isolated else "")
        rows.append(
            [f'<span class="sv-mono">{name}</span>', signed(one.size, t.size(one.size)),
             t.number(one.entry), t.number(one.mark),
             signed(one.unrealised, t.number(one.unrealised)), t.safe(one.asset),
             "now" if edge is not None and edge.already else t.number(price),
             t.percent(near, sign=True)]
        )  # fmt: skip
    return table(
        "Positions",
        ("instrument", "size", "entry", "mark", "unrealised", "in", "liquidated at", "away"), rows,
        kind="sv-tall",
    )  # fmt: skip


def heat_table(heat: Heat, colours: Palette) -> str:
    """Scenario PnL over spot and volatility; the binding scenario has a frame and a mark."""
    reach = max((abs(one) for row in heat.pnl for one in row if one is not None), default=1.0)
    head = "".join(f'<th scope="col">vol {t.safe(one)}</th>' for one in heat.vols)
    body = []
    for place, (move, cells) in enumerate(zip(heat.moves, heat.pnl, strict=True)):
        row = []
        for column, pnl in enumerate(cells):
            if pnl is None:
                row.append("<td></td>")
                continue
            share = 0.08 + 0.72 * min(1.0, abs(pnl) / (reach or 1.0)) ** 0.6 if pnl else 0.0
            ground = mixed(colours.surface, colours.gain if pnl > 0 else colours.loss, share)
            binds = heat.binding == (place, column)
            mark = '<span aria-label="binding scenario">▶ </span>' if binds else ""
            row.append(
                f'<td{" class=bind" if binds else ""} style="background:{ground};'
                f'color:{readable(ground)}">{mark}{t.number(pnl, 0)}</td>'
            )
        body.append(f'<tr><th scope="row">{t.percent(move, sign=True)}</th>{"".join(row)}</tr>')
    return (
        f'<div class="sv-scroll" tabindex="0" role="group" aria-label="{t.safe(heat.title)}">'
        f'<table class="sv-heat"><caption>{t.safe(heat.title)}, dollars</caption>'
        f'<thead><tr><th scope="col">spot</th>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        "</table></div>"
    )


def charges_table(seen: Explained) -> str:
    """What the requirement is made of, by netting set."""
    rows = [
        [f"{t.safe(one.node)} · {t.safe(name.replace('_', ' '))}", f"${t.number(amount)}"]
        for one in seen.sets
        for name, amount in one.components.items()
        if amount
    ]
    rows += [
        [f"<b>{t.safe(one.node)}</b> · initial", f"<b>${t.number(one.initial)}</b>"]
        for one in seen.sets
    ]
    return table("Charges by netting set", ("charge", "dollars"), rows)


def worths_table(worths: Sequence[Worth]) -> str:
    """Collateral with haircuts."""
    rows = [
        [t.safe(one.asset), t.size(one.amount), t.number(one.price),
         t.percent(one.haircut), t.number(one.counted)]
        for one in worths
    ]  # fmt: skip
    return table("Collateral", ("asset", "amount", "price $", "haircut", "counts $"), rows)


def greeks_table(greeks: Mapping[str, Mapping[str, float]]) -> str:
    """Sensitivities by underlying."""
    rows = [
        [t.safe(name), signed(one["delta"], t.size(round(one["delta"], 4))),
         signed(one["gamma"], t.size(round(one["gamma"], 5))),
         signed(one["vega"], t.number(one["vega"])), signed(one["theta"], t.number(one["theta"]))]
        for name, one in greeks.items()
    ]  # fmt: skip
    return (
        table("Greeks", ("underlying", "delta", "gamma", "vega", "theta"), rows)
        + '<p class="sv-note">Delta in coin, gamma its change per 1 %, vega in $ per volatility '
        "point, theta in $ a day.</p>"
    )

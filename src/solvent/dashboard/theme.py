"""How the pages look: two palettes of the same names, and one style sheet made of them.

Every pair of text and ground in `PAIRS` has a contrast of at least 4.5 (WCAG AA), which a test
computes. A state is never told by its colour alone: it has a sign and a word.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from solvent.solvency.classes import State as Class


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours as `#rrggbb`."""

    ground: str
    surface: str
    raised: str
    line: str
    ink: str
    muted: str
    accent: str
    on_accent: str
    accent_soft: str
    healthy: str
    warning: str
    call: str
    liquidate: str
    unknown: str
    gain: str
    loss: str
    second: str
    grid: str


LIGHT: Final = Palette(
    ground="#f4f6f8", surface="#ffffff", raised="#eef1f5", line="#dde3e9", ink="#131b24",
    muted="#55626f", accent="#1f57d6", on_accent="#ffffff", accent_soft="#e6edfc",
    healthy="#17734a", warning="#855d00", call="#a8480a", liquidate="#b4232a", unknown="#6a3fa6",
    gain="#0f7a5a", loss="#b4232a", second="#0d7480", grid="#e8ecf0",
)  # fmt: skip
DARK: Final = Palette(
    ground="#0b1016", surface="#121920", raised="#1a232c", line="#26313c", ink="#e7edf3",
    muted="#98a6b4", accent="#85adff", on_accent="#0b1424", accent_soft="#1a2740",
    healthy="#51c78f", warning="#e2b54a", call="#f59a55", liquidate="#ff7b7b", unknown="#bda2f5",
    gain="#43c59e", loss="#ff7b7b", second="#4fc3d0", grid="#1e2831",
)  # fmt: skip
_TEXTS = (
    "ink", "muted", "accent", "healthy", "warning", "call", "liquidate", "unknown", "gain", "loss",
)  # fmt: skip
PAIRS: Final = (
    *((text, ground) for text in _TEXTS for ground in ("ground", "surface", "raised")),
    ("on_accent", "accent"), ("accent", "accent_soft"), ("ink", "accent_soft"),
)  # fmt: skip
SIGNS: Final = {
    Class.HEALTHY: "●", Class.WARNING: "◐", Class.CALL: "▲", Class.LIQUIDATE: "■",
    Class.UNKNOWN: "?",
}  # fmt: skip


def palette(*, dark: bool) -> Palette:
    """The palette of a page."""
    return DARK if dark else LIGHT


def luminance(colour: str) -> float:
    """Relative luminance of a colour, from 0 to 1 (WCAG 2.2).

    >>> round(luminance("#ffffff"), 3), round(luminance("#000000"), 3)
    (1.0, 0.0)
    """
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, from 1 to 21 (WCAG 2.2).

    >>> contrast("#ffffff", "#000000")
    21.0
    """
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    """A colour between two: all of the first at 0, all of the second at 1.

    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    parts = [
        round(int(one[p : p + 2], 16) * (1 - share) + int(other[p : p + 2], 16) * share)
        for p in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in parts)


def readable(ground: str) -> str:
    """Ink that can be read on a ground: black or white, one of which always has a contrast of 4.5.

    >>> readable("#ffffff"), readable("#b4232a")
    ('#000000', '#ffffff')
    """
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, ground))


def style_sheet() -> str:
    """The pages' CSS: variables of both palettes, and what stands where."""
    return (
        f"{_variables(':root, body.body--light', LIGHT)}\n{_variables('body.body--dark', DARK)}\n"
        f"{_CSS}"
    )


def _variables(where: str, colours: Palette) -> str:
    told = "".join(f"--{name.replace('_', '-')}:{value};" for name, value in
                   asdict(colours).items())  # fmt: skip
    return f"{where}{{{told}}}"


_CSS: Final = """
:root{--radius:8px;--gap:14px;--mono:ui-monospace,'SF Mono','JetBrains Mono','Roboto Mono',Menlo,
  Consolas,'DejaVu Sans Mono',monospace;
  --sans:'Inter','Inter Variable','Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
body{background:var(--ground)!important;color:var(--ink);font:14px/1.45 var(--sans);
  font-variant-numeric:tabular-nums;-webkit-font-smoothing:antialiased;margin:0}
.nicegui-content{padding:0!important;gap:0!important;width:100%;align-items:stretch!important}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent)!important;outline-offset:2px;border-radius:4px}
.sv-skip{position:absolute;left:-999px;top:8px;background:var(--accent);color:var(--on-accent);
  padding:8px 14px;border-radius:6px;z-index:9999}
.sv-skip:focus{left:12px}
.sv-bar{position:sticky;top:0;z-index:1000;background:var(--surface);
  border-bottom:1px solid var(--line);display:flex;flex-direction:row;align-items:center;gap:18px;
  padding:0 20px;min-height:52px;width:100%;box-sizing:border-box;flex-wrap:nowrap}
.sv-brand{font-weight:680;font-size:16px;letter-spacing:-.01em;color:var(--ink);display:flex;
  gap:9px;align-items:center;white-space:nowrap}
.sv-brand:hover{text-decoration:none}
.sv-brand svg{display:block}
.sv-navbox{flex:1 1 auto;min-width:0;display:flex}
.sv-nav{display:flex;gap:2px;overflow-x:auto;scrollbar-width:none;flex:1 1 auto;min-width:0}
.sv-nav a{color:var(--muted);padding:16px 11px 14px;border-bottom:2px solid transparent;
  white-space:nowrap;font-weight:500}
.sv-nav a:hover{color:var(--ink);text-decoration:none}
.sv-nav a[aria-current=page]{color:var(--ink);border-bottom-color:var(--accent)}
.sv-right{display:flex;flex-direction:row;gap:8px;align-items:center;flex:0 0 auto;flex-wrap:nowrap}
.sv-live{display:inline-flex;align-items:center;gap:7px;color:var(--muted);white-space:nowrap;
  font-size:12.5px}
.sv-live i{width:8px;height:8px;border-radius:50%;background:var(--healthy);display:inline-block}
.sv-live.off i{background:var(--liquidate)}
.sv-main{padding:18px 20px 40px;display:flex;flex-direction:column;gap:var(--gap);width:100%;
  max-width:1680px;margin:0 auto;box-sizing:border-box}
h1.sv-title{font-size:20px;line-height:1.25;font-weight:660;margin:0;letter-spacing:-.015em}
.sv-sub{color:var(--muted);margin:2px 0 0}
.sv-main>div:empty{display:none}
.sv-head{display:flex;flex-direction:row;justify-content:space-between;align-items:flex-end;
  gap:16px;flex-wrap:wrap}
.sv-grid{display:grid;grid-template-columns:repeat(12,minmax(0,1fr));gap:var(--gap);width:100%}
.sv-4{grid-column:span 4}.sv-5{grid-column:span 5}.sv-6{grid-column:span 6}
.sv-7{grid-column:span 7}.sv-8{grid-column:span 8}.sv-12{grid-column:span 12}
.sv-3{grid-column:span 3}
.sv-stack{display:flex;flex-direction:column;gap:var(--gap);min-width:0}
.sv-card{background:var(--surface);border:1px solid var(--line);border-radius:var(--radius);
  padding:14px 16px;display:flex;flex-direction:column;gap:8px;min-width:0;box-sizing:border-box}
.sv-card>h2{font-size:13px;font-weight:620;margin:0;line-height:1.35;display:flex;
  justify-content:space-between;gap:10px;align-items:baseline}
.sv-card>h2 small{font-weight:400;color:var(--muted);font-size:12px;text-align:right}
.sv-note{color:var(--muted);font-size:12.5px;margin:0}
.sv-kpis{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;
  background:var(--line);border:1px solid var(--line);border-radius:var(--radius);
  overflow:hidden;width:100%}
.sv-kpi{background:var(--surface);padding:11px 15px 12px;min-width:0}
.sv-kpi dt{color:var(--muted);font-size:12px;margin:0;white-space:nowrap;overflow:hidden;
  text-overflow:ellipsis}
.sv-kpi dd{margin:1px 0 0;font-size:19px;font-weight:620;letter-spacing:-.02em;white-space:nowrap}
.sv-kpi dd small{display:block;font-size:12px;font-weight:450;color:var(--muted);letter-spacing:0;
  white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.sv-kpis dl{display:contents}
.sv-scroll{overflow-x:auto;max-width:100%}
.sv-scroll:has(>.sv-tall){overflow-y:auto;max-height:min(70vh,640px)}
.sv-tall thead th{position:sticky;top:0;background:var(--surface)}
table.sv-t{border-collapse:collapse;width:100%;font-size:13px}
table.sv-t caption{text-align:left;color:var(--muted);font-size:12px;padding:0 0 4px}
.sv-hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
  white-space:nowrap}
table.sv-t th{font-weight:500;color:var(--muted);text-align:right;padding:4px 8px;font-size:12px;
  border-bottom:1px solid var(--line);white-space:nowrap}
table.sv-t td{padding:4.5px 8px;text-align:right;border-bottom:1px solid var(--grid);
  white-space:nowrap}
table.sv-t tr:last-child td,table.sv-t tr:last-child th[scope=row]{border-bottom:0}
table.sv-t th[scope=row]{color:var(--ink);font-weight:500;text-align:left;font-size:13px;
  border-bottom:1px solid var(--grid)}
table.sv-t .l{text-align:left}
table.sv-t td.w{white-space:normal;text-align:left;min-width:180px}
table.sv-t th:first-child,table.sv-t td:first-child{padding-left:0}
table.sv-t th:last-child,table.sv-t td:last-child{padding-right:0}
table.sv-t tr.here td,table.sv-t tr.here th{background:var(--accent-soft)}
.sv-mono{font-family:var(--mono);font-size:12.5px}
.sv-gain{color:var(--gain)}.sv-loss{color:var(--loss)}.sv-muted{color:var(--muted)}
.sv-state{white-space:nowrap;font-weight:560}
.sv-state b{font-weight:400;display:inline-block;width:1.25em;text-align:left}
.sv-heats{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:14px 22px}
.sv-narrow{flex:0 1 220px;min-width:140px}
.sv-healthy{color:var(--healthy)}.sv-warning{color:var(--warning)}.sv-call{color:var(--call)}
.sv-liquidate,.sv-liquidation,.sv-loss-kind{color:var(--liquidate)}.sv-unknown{color:var(--unknown)}
.sv-well{color:var(--healthy)}
.sv-bars th:nth-child(2),.sv-bars td:nth-child(2){width:36%;min-width:70px}
.sv-barbox{height:10px;border-radius:2px;background:var(--raised);overflow:hidden;display:flex}
.sv-barbox>span{display:block;height:100%}
table.sv-heat{border-collapse:separate;border-spacing:2px;font-size:12px;width:100%}
table.sv-heat caption{text-align:left;color:var(--muted);font-size:12px;padding-bottom:4px}
table.sv-heat th{font-weight:500;color:var(--muted);padding:2px 6px;text-align:right;
  white-space:nowrap}
table.sv-heat td{padding:3px 8px;text-align:right;border-radius:3px;white-space:nowrap}
table.sv-heat td.bind{outline:2px solid var(--ink);outline-offset:0;font-weight:700}
.sv-margin{position:relative;height:26px;border-radius:5px;background:var(--raised);
  overflow:hidden;margin:2px 0 4px}
.sv-margin>span{position:absolute;top:0;bottom:0;left:0}
.sv-margin>i{position:absolute;top:0;bottom:0;width:2px;background:var(--ink)}
.sv-legend{display:flex;gap:4px 16px;flex-wrap:wrap;font-size:12.5px;color:var(--muted)}
.sv-legend span{white-space:nowrap}
.sv-legend b{color:var(--ink);font-weight:560}
.sv-chart{width:100%;height:230px}.sv-tall{height:330px}.sv-low{height:150px}
.sv-row{display:flex;flex-direction:row;gap:10px;align-items:flex-end;flex-wrap:wrap;width:100%}
.sv-grow{flex:1 1 160px;min-width:140px}
.sv-feed{list-style:none;margin:0;padding:0;display:flex;flex-direction:column;max-height:330px;
  overflow:auto;font-size:13px}
.sv-feed li{display:grid;grid-template-columns:66px minmax(88px,auto) 1fr;gap:10px;
  padding:4px 0;border-bottom:1px solid var(--grid)}
.sv-feed time{color:var(--muted)}
.sv-diff{font-family:var(--mono);font-size:12px}
.sv-banner{border:1px solid var(--line);border-left:3px solid var(--accent);border-radius:6px;
  background:var(--surface);padding:9px 14px;color:var(--ink)}
.sv-banner.bad{border-left-color:var(--liquidate)}
kbd{font-family:var(--mono);font-size:11.5px;border:1px solid var(--line);border-bottom-width:2px;
  border-radius:4px;padding:1px 6px;background:var(--raised);color:var(--ink)}
.q-btn{text-transform:none!important;font-weight:560;border-radius:6px;letter-spacing:0}
.q-btn.sv-main-button{background:var(--accent)!important;color:var(--on-accent)!important}
.q-btn.sv-quiet{color:var(--ink)!important;border:1px solid var(--line);background:var(--surface)}
.q-btn:before{box-shadow:none!important}
.q-field{font-size:14px}
.q-field--outlined .q-field__control{border-radius:6px;background:var(--surface)}
.q-field--outlined .q-field__control:before{border-color:var(--line)!important}
.q-field__label,.q-field__native,.q-field__input{color:var(--ink)!important}
.q-field__label{color:var(--muted)!important}
.q-field--focused .q-field__control:after{border-color:var(--accent)!important}
.q-menu,.q-dialog .q-card{background:var(--surface)!important;color:var(--ink)!important;
  border:1px solid var(--line)}
.q-slider{color:var(--accent)!important}
.q-notification{border-radius:8px;box-shadow:0 4px 18px rgba(0,0,0,.25)}
.q-dark,.q-card{background:var(--surface);color:var(--ink)}
.sv-login{max-width:380px;margin:9vh auto 0;width:100%}
.sv-order{display:flex;flex-direction:row;justify-content:space-between;align-items:center;
  gap:12px;padding:6px 0;border-bottom:1px solid var(--grid);flex-wrap:wrap}
.sv-order:last-child{border-bottom:0}
button.sv-quiet{font:inherit;font-weight:560;padding:7px 12px;cursor:pointer;border-radius:6px}
table.sv-words td{white-space:normal;text-align:left;vertical-align:top;min-width:90px;
  overflow-wrap:anywhere}
table.sv-words th[scope=row]{vertical-align:top;padding-top:5px}
table.sv-words td:nth-child(2){white-space:nowrap}
details summary{cursor:pointer;color:var(--accent);padding:8px 0}
.sv-wide{width:100%}
.sv-login label{color:var(--muted);font-size:12.5px}
.sv-input{font:inherit;color:var(--ink);background:var(--surface);border:1px solid var(--line);
  border-radius:6px;padding:9px 11px}
.sv-submit{font:inherit;font-weight:560;background:var(--accent);color:var(--on-accent);border:0;
  border-radius:6px;padding:10px;margin-top:6px;cursor:pointer}
@media (max-width:1100px){.sv-3,.sv-4,.sv-5,.sv-6{grid-column:span 6}
  .sv-7,.sv-8{grid-column:span 12}}
@media (max-width:720px){
  .sv-bar{flex-wrap:wrap;padding:8px 12px 0;gap:4px 12px;position:static}
  .sv-brand{flex:1 1 auto}
  .sv-navbox{order:3;flex:1 0 100%!important;margin:0 -12px;padding:0 6px}
  .sv-nav{gap:0}.sv-nav a{padding:9px 6px 8px;font-size:14px}
  .sv-main{padding:12px 12px 36px}
  .sv-grid>*{grid-column:span 12!important}
  .sv-kpis{grid-template-columns:repeat(2,minmax(0,1fr))}
  .sv-kpi:last-child:nth-child(odd){grid-column:span 2}
  .sv-kpi{padding:9px 11px}.sv-kpi dd{font-size:17px}
  .sv-card{padding:12px}
  .sv-wide-only{display:none!important}
  .sv-feed li{grid-template-columns:60px 1fr}.sv-feed li span:last-child{grid-column:2}
}
@media (prefers-reduced-motion:reduce){*{animation:none!important;transition:none!important}}
"""

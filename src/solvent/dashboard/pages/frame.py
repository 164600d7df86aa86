"""What every page has: the bar, who looks, the theme, and how it is brought up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nicegui import ui
from starlette.requests import Request

from solvent.dashboard import text as t
from solvent.dashboard.access import Door, Sessions
from solvent.dashboard.approvals import Approvals
from solvent.dashboard.hub import Hub
from solvent.dashboard.theme import LIGHT, Palette, palette
from solvent.errors import SolventError
from solvent.service.callers import Action, Caller

PAGES: Final = (
    ("/", "Venue", "v"), ("/account", "Account", "a"), ("/stress", "Stress", "s"),
    ("/rulebooks", "Rulebooks", "r"), ("/surface", "Surface", "f"), ("/journal", "Journal", "j"),
)  # fmt: skip
THEME_COOKIE: Final = "solvent_theme"
TICK_S: Final = 0.25
ASKED_S: Final = 10.0
"""An open page asks so often whether it may still be seen."""
_LOGO = (
    '<svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><rect x="1" y="1" '
    'width="18" height="18" rx="5" fill="var(--accent)"/><path d="M5 12.5h3l2-6 2.2 8 1.6-4H16" '
    'fill="none" stroke="var(--on-accent)" stroke-width="1.8" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)
_LEAVE = (
    '<form method="post" action="/logout"><button type="submit" class="q-btn sv-quiet">Log out'
    "</button></form>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What all pages of a service share."""

    hub: Hub
    door: Door
    approvals: Approvals
    first_account: str = ""
    """Shown where no account is named."""

    @property
    def sessions(self) -> Sessions:
        """Who looks."""
        return self.door.sessions


class Page:
    """One open page: its reader, its palette, and what is brought up to date on it."""

    def __init__(
        self, scene: Scene, request: Request, caller: Caller, *, action: Action,
        account: str | None = None,
    ) -> None:  # fmt: skip
        self.scene, self.request, self.caller = scene, request, caller
        self._action, self._account = action, account
        self.dark = request.cookies.get(THEME_COOKIE) == "dark"
        self.colours: Palette = palette(dark=self.dark)
        self._refresh: list[tuple[Callable[[], Any], float]] = []
        self._seen = -1
        self._left: dict[int, float] = {}

    @property
    def hub(self) -> Hub:
        """Where everything that is shown comes from."""
        return self.scene.hub

    async def may(self, action: Action, account: str | None = None) -> Caller | None:
        """Who asks now, if they may, and not too often; else they are told why not."""
        try:
            return (await self.scene.door.enter(self.request, action, account)).caller
        except SolventError as fault:
            self.say(str(fault), bad=True)
            return None

    @asynccontextmanager
    async def acting(
        self, action: Action, account: str | None = None
    ) -> AsyncIterator[Caller | None]:
        """Who changes something now, None if they may not. They are told why not, and of a fault;
        how it ended is recorded where the API would."""
        try:
            entry = await self.scene.door.enter(self.request, action, account)
        except SolventError as fault:
            self.say(str(fault), bad=True)
            yield None
            return
        ended: SolventError | None = None
        try:
            yield entry.caller
        except SolventError as fault:
            ended = fault
            self.say(str(fault), bad=True)
        await entry.ended(ended)

    def say(self, words: str, *, bad: bool = False) -> None:
        """A short message, read out too."""
        ui.notify(
            words, position="bottom-right", timeout=8_000 if bad else 4_000, close_button="Close",
            color="negative" if bad else "dark", attrs={"role": "alert" if bad else "status"},
        )  # fmt: skip

    # ── what is brought up to date ───────────────────────────────────────────────────────────────

    def follow(self, refresh: Callable[[], Any], *, every_s: float = 0.0) -> None:
        """Call `refresh` when there is a newer view, at most so often; and once now."""
        self._left[len(self._refresh)] = 0.0
        self._refresh.append((refresh, every_s))
        refresh()

    def run(self) -> None:
        """Begin to bring the page up to date."""
        if self._refresh:
            timer = ui.timer(TICK_S, self._tick)
            ui.timer(ASKED_S, lambda: self._still(timer))

    async def _still(self, timer: ui.timer) -> None:
        """Whoever may not see this any more is shown nothing newer, and led to the login."""
        try:
            caller = await self.scene.sessions.caller(self.request)
            self.scene.sessions.check(caller, self._action, self._account)
        except SolventError:
            timer.deactivate()
            ui.navigate.to("/login")

    def _tick(self) -> None:
        view = self.hub.view
        version = -1 if view is None else view.version
        news = version != self._seen
        self._seen = version
        for place, (refresh, every_s) in enumerate(self._refresh):
            self._left[place] -= TICK_S
            if self._left[place] <= 0.0 and (news or every_s):
                self._left[place] = every_s
                refresh()
        if news and view is not None:
            self.hub.shown(view)

    # ── building blocks ──────────────────────────────────────────────────────────────────────────

    def live(self, make: Callable[[], str], *, every_s: float = 0.0, also: str = "") -> ui.html:
        """HTML that is made anew with every view."""
        block = ui.html("", sanitize=False).classes(also)

        def refresh() -> None:
            made = make()
            if made != block.content:
                block.set_content(made)

        self.follow(refresh, every_s=every_s)
        return block

    def chart(
        self, label: str, make: Callable[[], dict[str, Any] | None], *, every_s: float = 1.0,
        also: str = "",
    ) -> ui.echart:  # fmt: skip
        """A chart that is drawn anew with newer views; `make` gives None for nothing new."""
        chart = ui.echart({}).classes(f"sv-chart {also}")
        chart.props(f'role=img aria-label="{t.safe(label)}"')

        def refresh() -> None:
            options = make()
            if options is not None:
                chart.options.clear()
                chart.options.update(options)
                chart.update()

        self.follow(refresh, every_s=every_s)
        return chart


@contextmanager
def card(title: str, *, span: int = 4, note: str = "") -> Iterator[ui.element]:
    """A titled part of a page, so many twelfths wide."""
    with ui.element("section").classes(f"sv-card sv-{span}") as made:
        made.props(f'aria-label="{t.safe(title)}"')
        small = f"<small>{t.safe(note)}</small>" if note else ""
        with ui.element("h2"):
            ui.html(f"{t.safe(title)}", sanitize=False, tag="span")
            if small:
                ui.html(small, sanitize=False, tag="span")
        yield made


@contextmanager
def frame(page: Page, here: str, title: str) -> Iterator[None]:
    """The bar and the main part of a page."""
    ui.page_title(f"{title} · Solvent")
    ui.dark_mode(value=page.dark)
    ui.colors(primary=page.colours.accent, negative=LIGHT.liquidate, dark="#1c2530")
    ui.add_head_html('<link rel="stylesheet" href="/dashboard/style.css">')
    ui.add_head_html('<script src="/dashboard/keys.js"></script>')
    ui.query("html").props('lang="en"')
    ui.html('<a class="sv-skip" href="#main">Skip to the content</a>', sanitize=False)
    with ui.element("header").classes("sv-bar"):
        ui.html(f'<a class="sv-brand" href="/">{_LOGO}Solvent</a>', sanitize=False)
        links = "".join(
            f'<a href="{path}" title="g then {key}"'
            f"{' aria-current=page' if path == here else ''}>{name}</a>"
            for path, name, key in PAGES
        )
        ui.html(f'<nav class="sv-nav" aria-label="Pages">{links}</nav>', sanitize=False).classes(
            "sv-navbox"
        )
        with ui.element("div").classes("sv-right"):
            page.live(lambda: _live(page.hub), every_s=1.0)
            ui.html(_who(page.caller), sanitize=False).classes("sv-wide-only")
            if page.scene.sessions.passwords:
                ui.html(_LEAVE, sanitize=False)
            word = "Light" if page.dark else "Dark"
            ui.html(
                f'<button type="button" class="q-btn sv-quiet sv-theme" data-theme="{word.lower()}"'
                f' title="key: t">{word}</button>',
                sanitize=False,
            )
    with ui.element("main").classes("sv-main").props('id="main" tabindex="-1"'):
        yield
    page.run()


def _live(hub: Hub) -> str:
    view = hub.view
    if hub.fault:
        return f'<span class="sv-live off"><i></i>stopped: {t.safe(hub.fault)}</span>'
    if view is None:
        return '<span class="sv-live off" role="status"><i></i>loading</span>'
    return (
        f'<span class="sv-live" title="command {view.sequence:,}"><i></i>live '
        f"{t.clock(view.time_ms)} UTC</span>"
    )


def _who(caller: Caller) -> str:
    return (
        f'<a class="sv-live" href="/login" title="change who acts">{t.safe(caller.name)} · '
        f"{t.safe(caller.role)}</a>"
    )


def heading(title: str, sub: str) -> None:
    """A page's title and what it answers."""
    with ui.element("div"):
        ui.html(f'<h1 class="sv-title">{t.safe(title)}</h1>', sanitize=False)
        ui.html(f'<p class="sv-sub">{t.safe(sub)}</p>', sanitize=False)


def button(words: str, act: Callable[..., Any], *, main: bool = False, name: str = "") -> ui.button:
    """A button; `name` is how tests and people's tools find it."""
    made = ui.button(words, on_click=act, color=None).props("no-caps unelevated")
    made.classes("sv-main-button" if main else "sv-quiet")
    if name:
        made.props(f'data-name="{name}"')
    return made


KEYS_JS: Final = """
(function(){
  const cookie=(n,v)=>{document.cookie=n+'='+v+';path=/;max-age=31536000;samesite=lax'};
  if(!/solvent_theme=/.test(document.cookie)){
    const dark=matchMedia('(prefers-color-scheme: dark)').matches;
    cookie('solvent_theme',dark?'dark':'light');
    if(dark&&/solvent_theme=/.test(document.cookie))location.reload();
  }
  const turn=()=>{const b=document.querySelector('.sv-theme');if(!b)return;
    cookie('solvent_theme',b.dataset.theme);location.reload()};
  document.addEventListener('click',e=>{if(e.target.closest('.sv-theme'))turn()});
  const pages={v:'/',a:'/account',s:'/stress',r:'/rulebooks',f:'/surface',j:'/journal'};
  let g=0;
  document.addEventListener('keydown',e=>{
    if(e.ctrlKey||e.metaKey||e.altKey)return;
    if(/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)||e.target.isContentEditable)return;
    if(e.key==='g'){g=Date.now();return}
    if(Date.now()-g<1200&&pages[e.key]){g=0;location.href=pages[e.key];return}
    if(e.key==='t'){turn();return}
    if(e.key==='/'){const f=document.querySelector('[data-find] input');
      if(f){e.preventDefault();f.focus()}else{location.href='/account'}return}
  });
  document.documentElement.lang='en';
  // The frame that everything stands in is no landmark: the content is.
  const tidy=()=>{const outer=document.querySelector('main.q-page');
    if(outer)outer.setAttribute('role','presentation');else setTimeout(tidy,50)};
  document.addEventListener('DOMContentLoaded',tidy);
  // A table that is made anew stays where it was scrolled to, and with who reads it by keys.
  const at={};let held='';
  const named=e=>e.matches&&e.matches('.sv-scroll[aria-label]')?e.getAttribute('aria-label'):'';
  document.addEventListener('scroll',e=>{const n=named(e.target);
    if(n)at[n]=[e.target.scrollLeft,e.target.scrollTop]},true);
  document.addEventListener('focusin',e=>{held=named(e.target)});
  document.addEventListener('pointerdown',()=>{held=''});
  new MutationObserver(all=>{for(const one of all)for(const e of one.addedNodes){
    if(e.nodeType!==1)continue;
    for(const s of [e,...e.querySelectorAll('.sv-scroll')]){const n=named(s);if(!n)continue;
      if(at[n]){s.scrollLeft=at[n][0];s.scrollTop=at[n][1]}
      if(n===held&&document.activeElement===document.body)s.focus({preventScroll:true})}}
  }).observe(document.documentElement,{childList:true,subtree:true});
})();
"""

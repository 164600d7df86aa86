"""The login: a plain form, so that it can set cookies that no script reads."""

from __future__ import annotations

from starlette.requests import Request

from solvent.dashboard import text as t

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · Solvent</title><link rel="stylesheet" href="/dashboard/style.css">
<link rel="icon" href="data:,"></head><body class="body--{theme}"><main class="sv-main">
<form class="sv-card sv-login" method="post" action="/login" aria-labelledby="title">
<h1 class="sv-title" id="title">Solvent</h1><p class="sv-sub">{words}</p>{fault}
<label for="name">Name</label>
<input class="sv-input" id="name" name="name" autocomplete="username" autofocus required
 maxlength="64">{password}
<button class="sv-submit" type="submit">Log in</button></form></main></body></html>"""
_SECOND = """<label for="password">Password</label>
<input class="sv-input" id="password" name="password" type="password"
 autocomplete="current-password" required>"""


def login_html(request: Request, *, passwords: bool, fault: str = "") -> str:
    """The form; `fault` says why the last try failed."""
    theme = "dark" if request.cookies.get("solvent_theme") == "dark" else "light"
    words = (
        "Log in to see the venue." if passwords
        else "Open on this machine: say who acts. No password is asked."
    )  # fmt: skip
    told = f'<p class="sv-banner bad" role="alert">{t.safe(fault)}</p>' if fault else ""
    return _PAGE.format(theme=theme, words=words, fault=told, password=_SECOND if passwords else "")

"""Black-76 in arbitrary precision, straight from the textbook.

Needs mpmath (`solvent[verify]`), which computes the normal law to any number of digits.
"""

from __future__ import annotations

from solvent.errors import MissingExtra

_DIGITS = 40


def black76_exact(
    *, forward: float, strike: float, years: float, vol: float, side: int, inverse: bool = False
) -> float:
    """side·(F·N(side·d₁) − K·N(side·d₂)), divided by F when inverse; correctly rounded.

    >>> round(black76_exact(forward=100.0, strike=100.0, years=1.0, vol=0.2, side=1), 12)
    7.965567455406
    """
    try:
        from mpmath import mp, mpf
    except ImportError as fault:
        raise MissingExtra(feature="arbitrary precision", extra="verify") from fault
    with mp.workdps(_DIGITS):
        f, k, t, sigma = mpf(forward), mpf(strike), mpf(years), mpf(vol)
        v = sigma * mp.sqrt(t)
        d1 = mp.log(f / k) / v + v / 2
        d2 = d1 - v
        price = side * (f * mp.ncdf(side * d1) - k * mp.ncdf(side * d2))
        return float(price / f if inverse else price)

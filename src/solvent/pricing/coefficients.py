"""Constants of the elementary functions, found by minimax fits in 50-digit arithmetic.

They are facts shared by the vectorised and the compiled implementation; the algorithms around them
are written twice.

* `exp(x) = 2^k · (1 + r + r²·E(r))` with `x = k·ln 2 + r`, `|r| ≤ ln 2 / 2`; error 1.3e-17.
* `log(m) = 2s + s·z·L(z)` with `s = (m − 1)/(m + 1)`, `z = s²`, `m` in `[√½, √2)`; error 6e-20.
* The Mills ratio `N(−z)/n(z) = P(z)/Q(z)` for `z` in `[0, 40]`, relative error 5.4e-17. All
  coefficients are positive, so Horner's rule loses no digits and needs no fused multiply-add.
"""

from typing import Final

LN2_HIGH: Final = 6.93147180369123816490e-01
"""Upper 32 bits of ln 2: k·LN2_HIGH is exact for |k| < 2^20."""
LN2_LOW: Final = 1.90821492927058770002e-10
LOG2_E: Final = 1.4426950408889634
ROUND_TO_INTEGER: Final = 6755399441055744.0
"""1.5·2^52: adding it to |x| < 2^51 rounds x half-even and leaves it in the low bits."""
INV_SQRT_2PI: Final = 0.3989422804014327
SQRT_HALF: Final = 0.7071067811865476
SIGMA_MAX: Final = 37.6
"""Beyond it a normal tail is below 1e-307 and the density would underflow."""
TOTAL_VOL_MIN: Final = 1e-30
"""Stands for σ√T = 0: prices are intrinsic to the last bit, at the strike too."""
LOG_MONEYNESS_MAX: Final = 1e100
"""Stands for log(F/0): a call struck at 0 is a forward, at any σ√T."""

EXP: Final = (
    0.50000000000000010223, 0.16666666666666674538, 0.041666666666624125577,
    0.008333333333322200147, 0.0013888888917214225261, 0.00019841269886603504222,
    0.000024801521295536078386, 2.7557242336121545088e-6, 2.7620088583872672191e-7,
    2.5110045427262935787e-8,
)  # fmt: skip
LOG: Final = (
    0.66666666666666666462, 0.40000000000000886837, 0.28571428570798210561,
    0.22222222392823164565, 0.1818179553166270249, 0.15386245147786433158,
    0.13268637603814782974, 0.13087951528504338369,
)  # fmt: skip
MILLS_P: Final = (
    1.253314137315500183528824, 1.943840987238337754019418, 1.491256647297029961408709,
    0.726823915567129064951794, 0.2456029547906037395036692, 0.05942872160971797958104413,
    0.01029630087815847582702931, 0.001235935755059868950214569, 0.00009398574564802629958241759,
    0.000003500317831205544016087958,
)  # fmt: skip
MILLS_Q: Final = (
    1.0, 2.348845273176124075370547, 2.563958034255300109847025,
    1.717202994407422176696391, 0.7838160053443181053148181, 0.2557112729000528158606568,
    0.06065765713541282148021387, 0.01039028661321826120868713, 0.001239436073077756250482309,
    0.00009398574564604979786025673, 0.000003500317831214966403720173,
)  # fmt: skip

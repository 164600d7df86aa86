"""The rulebook's arithmetic against Python's own, in fractions; what it refuses, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.expressions import (
    MARKET_ONLY,
    Expression,
    ExpressionError,
    inline,
    parse,
    split,
)
from solvent.limits import EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX
from solvent.margining.duals import DUALS, Dual
from solvent.rationals import RATIONALS
from solvent.scenarios.scenario import ladder

NAMES = ("x", "y", "z.rate")


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts joined without care for precedence: what binds is the reader's to find."""

    def forms(*templates: str) -> st.SearchStrategy[str]:
        parts = st.tuples(inner, inner, inner)
        return st.tuples(st.sampled_from(templates), parts).map(lambda t: t[0].format(*t[1]))

    def power(base: str, exponent: str) -> str:
        return f"({base}) ** {exponent}" if "**" in base else f"{base} ** {exponent}"

    return st.one_of(
        forms("{} + {}", "{} - {}", "{} * {}", "{} / {}", "-{}", "({})", "({} - {}) * {}"),
        forms("max({}, {}, {})", "min({}, {})", "abs({})", "clip({}, {}, {})"),
        forms("sign({})", "round({})", "floor({})", "ceil({})"),
        st.builds(power, inner, st.sampled_from(["2", "3", "-1"])),
        st.tuples(conditions(), inner, inner).map(lambda t: "where({}, {}, {})".format(*t)),
    )


def conditions() -> st.SearchStrategy[str]:
    plain = st.sampled_from([*NAMES, "0", "1"])
    sign = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    either = st.sampled_from(["{} and {}", "{} or {}", "not {}", "({})"])
    return st.recursive(
        st.one_of(plain, st.tuples(plain, sign, plain).map(" ".join)),
        lambda inner: st.tuples(either, inner, inner).map(lambda t: t[0].format(*t[1:])),
        max_leaves=4,
    )


TEXTS = st.recursive(st.sampled_from([*NAMES, "0", "1", "2", "7"]), grown, max_leaves=6)
PLAIN = TEXTS.map(lambda text: text.replace("**", "*"))
"""Without powers, which only the market's part of a formula may have."""
QUARTERS = st.integers(-40, 40).map(lambda n: Fraction(n, 4))
VALUES = st.fixed_dictionaries(dict.fromkeys(NAMES, QUARTERS))


def by_python(text: str, values: Mapping[str, Fraction]) -> Fraction | None:
    """Python's own reading of a text; None where it divides by zero."""
    exact = re.sub(r"\d+", r"F(\g<0>)", text).replace("z.rate", "z")
    try:
        names = {"F": Fraction, **RATIONALS.functions, **{k[0]: v for k, v in values.items()}}
        return Fraction(eval(exact, names))
    except ZeroDivisionError:
        return None


def by_solvent(expression: Expression, values: Mapping[str, Fraction]) -> Fraction | None:
    try:
        return Fraction(expression(values, RATIONALS))
    except ZeroDivisionError:
        return None


@settings(max_examples=500)
@given(TEXTS, VALUES)
@example("-x ** 2", {"x": Fraction(3), "y": Fraction(0), "z.rate": Fraction(0)})
@example("2 ** 3 ** 2 - x", {"x": Fraction(3), "y": Fraction(0), "z.rate": Fraction(0)})
@example("where(not x + y, x, y)", {"x": Fraction(3), "y": Fraction(-3), "z.rate": Fraction(0)})
def test_reads_as_python_does(text: str, values: dict[str, Fraction]) -> None:
    assert by_solvent(parse(text), values) == by_python(text, values)


@settings(max_examples=300)
@given(TEXTS)
@example("(-x) ** 2")
@example("(not x) + y")
@example("-(x - y)")
def test_what_it_writes_it_reads_back_as_the_same(text: str) -> None:
    root = parse(text).root
    assert parse(inline(parse(text), {}).text).root == root


@settings(max_examples=300)
@given(PLAIN.map(lambda text: text.replace("/", "*")), VALUES)
@example("(x < y) + (x < 1) - -(y < x)", dict.fromkeys(NAMES, Fraction(1, 2)))
def test_every_arithmetic_agrees(text: str, values: dict[str, Fraction]) -> None:
    """Quarters are exact in all of them; a truth is 1 in all of them."""
    expression, exact = parse(text), by_python(text, values)
    arrays = {name: np.array([float(number), 0.0]) for name, number in values.items()}
    rationals = dict(values)
    duals = {name: Dual(float(number), np.zeros(1)) for name, number in values.items()}
    assert np.broadcast_to(expression(arrays), 2)[0] == exact
    assert expression(rationals, RATIONALS) == exact
    dual = expression(duals, DUALS)
    assert (dual.value if isinstance(dual, Dual) else dual) == exact


def test_a_truth_is_one_or_zero() -> None:
    values = {"x": Fraction(1, 2), "y": Fraction(3)}
    for text in ("x and y", "x or 0", "not 0", "(x < 2) + (y > 0) - 1", "1 - -(y < 3)"):
        assert by_solvent(parse(text), values) == 1
        assert parse(text)({"x": np.array([0.5]), "y": np.array([3.0])}) == 1.0


@given(st.floats(0.01, 99.0), st.sampled_from(["exp(x)", "log(x)", "sqrt(x)", "x ** 1.7"]))
def test_arrays_and_rationals_agree_on_what_is_for_the_market(x: float, text: str) -> None:
    exact = float(parse(text)({"x": Fraction(repr(x))}, RATIONALS))
    assert parse(text)({"x": np.array([x])})[0] == pytest.approx(exact, rel=1e-13, abs=1e-13)


@pytest.mark.filterwarnings("ignore:.*encountered")
@settings(max_examples=300)
@given(TEXTS, st.sets(st.sampled_from(NAMES)), st.lists(st.floats(-9, 9), min_size=6, max_size=6))
def test_cut_in_two_it_is_worth_the_same_to_the_bit(
    text: str, varying: set[str], numbers: list[float]
) -> None:
    whole = parse(text)
    values = dict(zip(NAMES, np.array(numbers).reshape(3, 2), strict=True))
    try:
        cut = split(whole, varying)
    except ExpressionError:
        assert "**" in text
        assert varying & whole.names
        return
    assert not any(part.names & varying for part in cut.inner.values())
    assert not {node.operation for node in cut.outer.root} & MARKET_ONLY
    inner = {name: part(values) for name, part in cut.inner.items()}
    outer = {name: values[name] for name in varying} | inner
    assert np.array_equal(cut.outer(outer), whole(values), equal_nan=True)


@pytest.mark.parametrize("text", ["exp(x)", "log(x + 1)", "sqrt(y * x)", "x ** 2", "2 ** x"])
def test_what_processors_round_differently_is_for_the_market_alone(text: str) -> None:
    assert list(split(parse(f"abs({text})"), {"z"}).inner) == ["part_0"]
    with pytest.raises(ExpressionError, match="only for what depends on the market alone"):
        split(parse(f"1 + {text}"), {"x"})


def test_parts_take_no_name_that_is_taken() -> None:
    cut = split(parse("part_0 * x + y + part_2 * z"), {"part_0", "part_2", "x"})
    assert cut.outer.text == "(((part_0 * x) + part_1) + (part_2 * part_3))"
    assert {name: part.text for name, part in cut.inner.items()} == {"part_1": "y", "part_3": "z"}


@given(PLAIN, PLAIN, PLAIN, VALUES)
def test_inlined_names_are_worth_what_they_stand_for(
    first: str, second: str, last: str, values: dict[str, Fraction]
) -> None:
    """A later name may use an earlier one, and hide one of the market's."""
    given_texts = {"a": first, "x": second.replace("y", "a")}
    whole = inline(parse(last), {name: parse(text) for name, text in given_texts.items()})
    known = dict(values)
    for name, text in given_texts.items():
        if (worth := by_solvent(parse(text), known)) is None:
            return
        known[name] = worth
    assert by_solvent(whole, values) == by_solvent(parse(last), known)


def test_inlining_a_bomb_is_refused() -> None:
    for grow in ("a{0} + a{0}", "-" * 60 + "a{0}"):
        bomb = {f"a{n}": parse(grow.format(n - 1)) for n in range(1, 40)}
        with pytest.raises(ExpressionError, match="too large once its names are replaced"):
            inline(parse("a39"), bomb)


NOT_IN_IT = (
    "a.b.c", "a.__class__", "__class__", "X", "x.abs(y)", "max(x, y)(z)", "max(x, key=y)",
    "(lambda: 1)()", "[x for x in y]", "x[0]", "'x' + y", "f'{x}'", "1 < x < 2", "x if y else z",
    "x // y", "x % y", "+x", "x is y", "x in y", "None", "...", "1j", "1e999", "9" * 400, "{}",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        *((text, 1, "is not in the language") for text in NOT_IN_IT),
        ("1 + a.b.c", 5, "'a.b.c' is not in the language"),
        ("2 * 1e999", 5, "is not in the language"),
        ("(x := 1)", 2, "'(x := 1)' is not in the language"),
        ("max(x, *y)", 8, "'*y' is not in the language"),
        ("x + True", 5, "true and false are not numbers"),
        ("x + open(y)", 5, "no function 'open'; there are abs, ceil"),
        ("max(x)", 1, "'max' takes 2 arguments or more, found 1"),
        ("clip(x, y)", 1, "'clip' takes 3 arguments, found 2"),
        ("x + ﬁ", 5, "no character 'ﬁ'"),
        ("𝐦𝐚𝐱(x, y)", 1, "no character '𝐦'"),
        ("٣ + x", 1, "no character '٣'"),
        ("x\u00a0+ y", 2, "no character"),
        ("x\0", 2, "no character"),
        ("", 1, "not an expression"),
        ("  x + * y", 5, "not an expression"),
        ("x := 1", 3, "not an expression"),
        ("x; y", 2, "not an expression"),
        ("x" * 5_000, 1, f"longer than {EXPRESSION_CHARS_MAX} characters"),
    ],
)
def test_refuses_and_says_where(text: str, column: int, words: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(words)) as fault:
        parse(text)
    assert fault.value.column == column
    assert str(fault.value).startswith(f"column {column}: ")


@pytest.mark.parametrize("form", ["-{}", "not {}", "abs({})", "x + {}", "{} - x", "x ** {}",
                                  "x and {}", "x or {}", "x < ({})", "[{}]"])  # fmt: skip
def test_depth_ends_in_words_and_not_in_the_stack(form: str) -> None:
    """However a text nests, it is refused as a text, or it can be cut, written and computed."""
    for count in (1, EXPRESSION_DEPTH_MAX - 1, EXPRESSION_DEPTH_MAX + 1, 300, 900):
        head, tail = form.split("{}")
        text = head * count + "x" + tail * count
        if form == "[{}]" or count > EXPRESSION_DEPTH_MAX:
            with pytest.raises(ExpressionError):
                parse(text)
        else:
            assert split(inline(parse(text), {}), {"y"}).outer.text == "part_0"
            assert np.isfinite(parse(text)({"x": np.float64(1.0)}))


SIGNS = "xyz019.e+-*/<>=!()[]{},_ '\"\\\n#:@%&|^~andorifwhelm"


@settings(max_examples=500)
@given(st.text(st.sampled_from(SIGNS), max_size=40))
def test_any_text_is_read_or_refused_in_its_own_words(text: str) -> None:
    with suppress(ExpressionError):
        expression = parse(text)
        assert parse(expression.text).root == expression.root


def test_constants_alone_do_not_break_the_arithmetic() -> None:
    with np.errstate(all="ignore"):
        assert parse("1 / 0")({}) == math.inf
        assert parse("10 ** 400")({}) == math.inf
        assert math.isnan(parse("(0 - 8) ** 0.5")({}))


def test_a_ladder_steps_evenly_whatever_the_reach_is() -> None:
    reach = "pair.range + 0.02 # from the venue's page"
    moves = [move({"pair.range": 0.1}) for move in ladder(reach, 3)]
    assert moves == pytest.approx([-0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.12])

"""Exercises: any algebra that gives the same is right, every mistake is found and named, and nothing typed is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from table import EQUATIONS, ROWS, pair, slstm

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.equations import Equations, exercises, judge
from scratchrnn.equations.answers import value
from scratchrnn.equations.exercises import Exercise
from scratchrnn.equations.linear import linear_backward
from scratchrnn.equations.lines import Line
from scratchrnn.equations.mistakes import mistakes
from scratchrnn.equations.terms import factors, multiplied, summed, terms

ALL = [*EQUATIONS, *(row.cell for row in ROWS if row.cell not in EQUATIONS), slstm]
SETS = [(cell, adjoint) for cell in (cells.elman_relu, cells.lstm, cells.gru, pair) for adjoint in (False, True)]
EXERCISES = [exercise for cell, adjoint in SETS for exercise in exercises(cell, adjoint).values()]
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: f"{e.cell.name}-{e.line.target}")
LSTM, LSTM_BACK, GRU, GRU_BACK = (exercises(c, a) for c in (cells.lstm, cells.gru) for a in (False, True))


def squared_update(f, h_prev):
    f = torch.sigmoid(f)
    return f**2 * h_prev


squared = sr.Cell("SQUARED", ("f",), squared_update)


def said(exercise: Exercise, answer: str) -> str:
    verdict = judge(exercise, answer)
    assert not verdict
    return verdict.reason


# --------------------------------------------------------------------------------------------- what is asked for


def test_forward_every_line_is_asked_for_and_of_the_linear_part_one_gate() -> None:
    assert [*LSTM] == ["i_pre", "i", "f", "g", "o", "c", "tanh_c", "h"]
    assert [*GRU] == ["r_pre", "n_x", "n_h", "r", "z", "n", "h"]
    assert LSTM["i_pre"].line.text == "i_pre = W_ii x + b_ii + W_hi h_prev + b_hi"


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.name)
def test_of_every_cell_the_lines_are_those_of_the_equations_and_their_own_answers(cell: sr.Cell) -> None:
    forward, back = exercises(cell), exercises(cell, adjoint=True)
    of = Equations(cell)
    assert [e.line.text for e in forward.values()][-len(of.forward) :] == [each.text for each in of.forward]
    asked = [e.line for e in back.values()]
    assert [each.text for each in asked[: len(of.derived)]] == [each.text for each in of.derived]
    linear, emitted = {each.text for each in linear_backward(cell)}, cell.states[0]
    assert {each.text for each in asked[len(of.derived) :]} <= linear
    assert {"dx", f"d{emitted}_prev"} <= {*back}
    for exercise in (*forward.values(), *back.values()):
        assert judge(exercise, exercise.line.code)
        assert judge(exercise, exercise.line.text.replace("^T", ".T"))


@each_exercise
def test_what_is_known_fulfils_the_lines_before(exercise: Exercise) -> None:
    assert exercise.line.target not in exercise.known
    assert {later.target for later in exercise.after}.isdisjoint(exercise.known)
    for each in exercise.before:
        torch.testing.assert_close(exercise.known[each.target], each.evaluate(exercise.known).to(torch.float64))
    assert {*exercise.line.names} <= {*exercise.names}
    assert {"W_ih", "x"}.isdisjoint(exercise.names) or exercise.linear


def test_backward_the_linear_part_is_asked_for_of_one_gate_and_of_a_split_one() -> None:
    asked = [e.line.text for e in exercises(cells.gru, adjoint=True).values()]
    assert asked[asked.index("dx = W_ir^T dr_pre + W_iz^T dz_pre + W_in^T dn_x") :] == [
        "dx = W_ir^T dr_pre + W_iz^T dz_pre + W_in^T dn_x",
        "dh_prev = W_hr^T dr_pre + W_hz^T dz_pre + W_hn^T dn_h + dh_direct",
        "dW_ir = dr_pre x^T",
        "dW_in = dn_x x^T",
        "dW_hr = dr_pre h_prev^T",
        "dW_hn = dn_h h_prev^T",
        "db_hr = dr_pre",
        "db_hn = dn_h",
    ]


@pytest.mark.parametrize(
    ("target", "answer", "reason"),
    [
        ("dW_hn", "dn_x h_prev^T", "`dn_x` stands where `dn_h` should"),
        ("dW_hn", "dn_h h^T", "`h` stands where `h_prev` should"),
        ("db_hn", "dn_x", "`dn_x` stands where `dn_h` should"),
        ("dx", "W_ir^T dr_pre + W_iz^T dz_pre", "the term `W_in^T dn_x` is not there"),
        (
            "dh_prev",
            "W_hr dr_pre + W_hz dz_pre + W_hn dn_h + dh_direct",
            "the transpose is missing: what went through W comes back through W^T",
        ),
    ],
)
def test_a_mistake_in_the_linear_part_is_named(target: str, answer: str, reason: str) -> None:
    assert said(exercises(cells.gru, adjoint=True)[target], answer) == reason


@pytest.mark.parametrize(
    "spelling",
    ["W_ir.T @ dr_pre + W_iz^T dz_pre + W_in\u1d40 @ dn_x", "dx = W_in^T dn_x+W_iz.T dz_pre + W_ir^T dr_pre"],
)
def test_a_transpose_may_be_written_in_three_ways(spelling: str) -> None:
    assert judge(exercises(cells.gru, adjoint=True)["dx"], spelling)


@pytest.mark.parametrize("answer", ["x dr_pre^T", "dr_pre h_prev^T", "dr_pre"])
def test_a_matrix_of_another_shape_cannot_be_judged(answer: str) -> None:
    exercise = exercises(cells.gru, adjoint=True)["dW_ir"]
    assert not judge(exercise, "W_ir")  # it has the very shape
    with pytest.raises(ValueError, match=r"should be a matrix of shape \[24, 3\], as dW_ir, got one of shape"):
        judge(exercise, answer)


def test_a_hint_says_the_names_then_the_shape_then_the_line() -> None:
    assert LSTM_BACK["dc"].hints == (
        "it has dc_next, dtanh_c, tanh_c",
        "it has the shape dc = _ + _ * (1 - _ * _)",
        "it is dc = dc_next + dtanh_c * (1 - tanh_c * tanh_c)",
    )
    assert GRU["n"].hints[1] == "it has the shape n = tanh(_ + _ * _)"
    assert LSTM["i_pre"].hints[1] == "it has the shape i_pre = _ _ + _ + _ _ + _"


def test_a_gradient_knows_the_line_that_is_differentiated() -> None:
    assert {n: e.through.text for n, e in LSTM_BACK.items() if e.through}["dc"] == "tanh_c = tanh(c)"
    assert LSTM["c"].through is None


def test_of_a_cell_that_cannot_be_read_the_reason_is_said() -> None:
    def update(f, h_prev):
        return f.cumsum(1) + h_prev

    with pytest.raises(ValueError, match="update of cell 'SUM', line"):
        exercises(sr.Cell("SUM", ("f",), update))


# ---------------------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (LSTM["c"], "c_prev ⊙ f + g·i"),
        (LSTM["c"], "  c = f*c_prev + i*g  "),
        (LSTM["c"], "σ(f_pre)*c_prev + i*tanh(g_pre)"),  # noqa: RUF001
        (LSTM["c"], "-(-f * c_prev - i * g)"),
        (LSTM["f"], "1 / (1 + exp(-f_pre))"),
        (LSTM["f"], "torch.sigmoid(f_pre)"),
        (LSTM["h"], "o × tanh(c)"),  # noqa: RUF001
        (LSTM["i_pre"], "W_ii x + W_hi h_prev + b_ii + b_hi"),
        (LSTM["i_pre"], "W_ii @ x + W_hi @ h_prev + (b_ii + b_hi)"),
        (LSTM_BACK["dc"], "dc_next + dh*o*(1 - tanh(c)^2)"),
        (LSTM_BACK["dc"], "dc_next + dtanh_c*(1 − tanh_c²)"),  # noqa: RUF001
        (LSTM_BACK["dc"], "dc_next + (1 + tanh_c)*(1 - tanh_c)*dtanh_c"),
        (LSTM_BACK["di_pre"], "dc * g * (i - i**2)"),
        (GRU["h"], "n + z * (h_prev - n)"),
        (GRU["n"], "2 * sigmoid(2 * (n_x + r*n_h)) - 1"),
        (GRU_BACK["dz"], "-dh*n + dh*h_prev"),
        (exercises(cells.elman_relu)["h"], "max(0, n_pre)"),
        (exercises(cells.elman_relu, True)["dn_pre"], "dh * (h > 0)"),
        (exercises(cells.elman_relu, True)["dn_pre"], "where(n_pre > 0, dh, 0)"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.line.target,
)
def test_equal_algebra_is_right(exercise: Exercise, answer: str) -> None:
    assert judge(exercise, answer) == (True, "")


def rewritten(node: ast.expr, before: dict[str, ast.expr], draw: st.DrawFn, depth: int = 2) -> ast.expr:
    """The same by other algebra."""

    def inner(part: ast.expr) -> ast.expr:
        return rewritten(part, before, draw, depth)

    def either(*ways: ast.expr) -> ast.expr:
        return draw(st.sampled_from(ways))

    def neg(a: ast.expr) -> ast.expr:
        return ast.UnaryOp(ast.USub(), a)

    def of(a: ast.expr, op: type[ast.operator], b: ast.expr) -> ast.expr:
        return ast.BinOp(a, op(), b)

    one, two = ast.Constant(1), ast.Constant(2)
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            a, b = inner(left), inner(right)
            return either(of(a, ast.Add, b), of(b, ast.Add, a), of(a, ast.Sub, neg(b)))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            a, b = inner(left), inner(right)
            return either(of(a, ast.Sub, b), neg(of(b, ast.Sub, a)), of(neg(b), ast.Add, a))
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.BinOp(left=c, op=ast.Add() | ast.Sub() as op, right=d)):
            a, b, c, d = inner(left), inner(node.right), inner(c), inner(d)
            return either(of(a, ast.Mult, b), of(b, ast.Mult, a), ast.BinOp(of(a, ast.Mult, c), op, of(a, ast.Mult, d)))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = inner(left), inner(right)
            return either(of(a, ast.Mult, b), of(b, ast.Mult, a), of(a, ast.Div, of(one, ast.Div, b)))
        case ast.Call(func=ast.Name(id="tanh"), args=[argument]) if depth:
            a = rewritten(argument, before, draw, depth - 1)
            doubled = ast.Call(ast.Name("sigmoid"), [of(two, ast.Mult, a)], [])
            return either(ast.Call(node.func, [a], []), of(of(two, ast.Mult, doubled), ast.Sub, one))
        case ast.Name(id=name) if name in before and depth and draw(st.booleans()):
            return rewritten(before[name], before, draw, depth - 1)
    return node


@each_exercise
@given(data=st.data())
def test_a_true_line_rewritten_is_right(exercise: Exercise, data: st.DataObject) -> None:
    elementwise = {e.target: e.expression for e in exercise.before if "@" not in e.code}
    answer = ast.unparse(rewritten(exercise.line.expression, elementwise, data.draw))
    answer = answer.replace("**", data.draw(st.sampled_from(("**", "^"))))
    answer = re.sub(r" \* ", data.draw(st.sampled_from((" * ", "*", "⊙", " ∘ "))), answer)
    assume(len(answer) <= 500)
    assert judge(exercise, answer), answer


# ---------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("exercise", "answer", "reason"),
    [
        (LSTM["c"], "f*c_prev", "the term `i * g` is not there"),
        (LSTM["c"], "f*c_prev - i*g", "the term `i * g` has the wrong sign: it is added"),
        (LSTM["c"], "f*c_prev + i", "the factor `g` is missing in `i * g`"),
        (LSTM["c"], "f + c_prev + i*g", "a sum stands where the product `f * c_prev` should"),
        (LSTM["c"], "i*c_prev + f*g", "`f` and `i` are exchanged"),
        (LSTM["c"], "f_pre*c_prev + i*g", "`f_pre` stands where `f` should: f = sigmoid(f_pre)"),
        (LSTM["c"], "f*c_prev + (1-f)*g", "`1 - f` stands where `i` should"),
        (LSTM["c"], "f*c_prev + i*tanh(g)", "`tanh(g)` stands where `g` should"),
        (LSTM["c"], "f*c_prev + i*g*o", "the factor `o` is too much, beside `i`"),
        (LSTM["c"], "(f*c_prev + i*g) * o", "the factor `o` is too much"),
        (LSTM["c"], "(f*c_prev + i*g) * (1 - o)", "the factor `1 - o` is too much"),
        (LSTM["c"], "f*c_prev + i*g - h_prev", "the term `- h_prev` is too much"),
        (LSTM["c"], "f*c_prev + i*g + o*g", "the term `+ g * o` is too much"),
        (LSTM["c"], "f*c_prev + i*g + 1", "+1 is too much"),
        (LSTM["c"], "2*(f*c_prev + i*g)", "it is 2 times what it should be"),
        (LSTM["c"], "-f*c_prev - i*g", "the sign of the whole is wrong"),
        (
            LSTM["c"],
            "c_prev",
            "two things: the term `i * g` is not there; and the factor `f` is missing in `f * c_prev`",
        ),
        (
            LSTM["c"],
            "f/(g-g)",
            "it is not finite: somewhere it divides by 0, or is the logarithm of what is not positive",
        ),
        (LSTM["f"], "sigmoid(i_pre)", "`i_pre` stands where `f_pre` should"),
        (GRU["n_h"], "W_in x + b_in", "that is n_x"),
        (LSTM["f"], "sigmoid(o_pre)", "that is o"),
        (LSTM_BACK["do"], "dh*o", "that is dtanh_c"),
        (LSTM_BACK["di_pre"], "g*dc", "the derivative of sigmoid is not there"),
        (LSTM["f"], "f_pre", "sigmoid is missing: it is taken of `f_pre`"),
        (LSTM["f"], "tanh(f_pre)", "tanh stands where sigmoid should, of `f_pre`"),
        (LSTM["h"], "o*c", "`c` stands where `tanh_c` should: tanh_c = tanh(c)"),
        (LSTM["i_pre"], "W_ii x + b_ii + b_hi", "the term `W_hi h_prev` is not there"),
        (
            LSTM["i_pre"],
            "W_if x + b_if + W_hf h_prev + b_hf",
            "that is f_pre",
        ),
        (GRU["n_x"], "W_in x + b_in + b_hn", "the term `+ b_hn` is too much"),
        (GRU["n"], "tanh(r*(n_x + n_h))", "the factor `r` is too much, beside `n_x`"),
        (GRU["n"], "tanh(n_x + n_h)", "the factor `r` is missing in `r * n_h`"),
        (GRU["h"], "z*n + (1-z)*h_prev", "`n` and `h_prev` are exchanged"),
        (LSTM_BACK["dc"], "dtanh_c*(1-tanh_c^2)", "the term that arrives from the next step, dc_next, is not there"),
        (LSTM_BACK["dc"], "dh*o*(1-tanh_c^2)", "the term that arrives from the next step, dc_next, is not there"),
        (
            LSTM_BACK["dc"],
            "dc_next + dh*o*(1 - c^2)",
            "`c` stands where `tanh_c` should: the derivative of tanh is made of its output, tanh_c = tanh(c)",
        ),
        (LSTM_BACK["dc"], "dc_next + dtanh_c", "the derivative of tanh is not there"),
        (LSTM_BACK["dc"], "dc_next + dtanh_c*(1-tanh_c)", "the factor `tanh_c` is missing in `tanh_c * tanh_c`"),
        (
            LSTM_BACK["dc"],
            "dc_next + dtanh_c*tanh_c*(1-tanh_c)",
            "that is the derivative of sigmoid, and the line is tanh_c = tanh(c)",
        ),
        (LSTM_BACK["di_pre"], "di*(1-i*i)", "that is the derivative of tanh, and the line is i = sigmoid(i_pre)"),
        (LSTM_BACK["di_pre"], "di*i*(i-1)", "the sign of the whole is wrong"),
        (
            LSTM_BACK["di_pre"],
            "di*i_pre*(1-i_pre)",
            "`i_pre` stands where `i` should: the derivative of sigmoid is made of its output, i = sigmoid(i_pre)",
        ),
        (GRU_BACK["dz"], "dh*(n-h_prev)", "`h_prev` and `n` are exchanged"),
        (GRU_BACK["dz"], "dh*(h_prev+n)", "the term `n` has the wrong sign: it is subtracted, in `h_prev - n`"),
        (LSTM_BACK["dg_pre"], "dg * (1 - g*g_pre)", "`g_pre` stands in one place where `g` should"),
        (exercises(slstm)["h"], "o*c", "the divisor `n` is missing in `o * c / n`"),
        (exercises(slstm)["h"], "o*c*n", "`n` multiplies, where it should divide"),
        (exercises(slstm)["h"], "o/c/n", "`c` divides, where it should multiply"),
        (exercises(squared)["h"], "f * h_prev", "`f` stands where `f ** 2` should"),
        (exercises(squared)["h"], "(1 - f)^2 * h_prev", "`1 - f` stands where `f` should"),
        (exercises(cells.elman_relu, True)["dn_pre"], "where(h >= 0, 0, dh)", "`h <= 0` is the other way round"),
        (exercises(cells.elman_relu, True)["dn_pre"], "where(h > 0, 0, dh)", "the two sides are exchanged"),
        (exercises(cells.elman_relu, True)["dn_pre"], "dh * (h <= 0)", "the two sides are exchanged"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.line.target,
)
def test_a_wrong_answer_is_told_why(exercise: Exercise, answer: str, reason: str) -> None:
    assert said(exercise, answer) == reason


def test_what_nothing_explains_is_shown_in_numbers_that_hold() -> None:
    reason = said(LSTM["h"], "tanh(o*c)*f - 3")
    numbers = {name: float(number) for name, number in re.findall(r"(\w+) = (-?\d+\.\d+)", reason)}
    found = re.fullmatch(r"where o = .+, c = .+, f = .+, yours gives (\S+), and h is (\S+)", reason)
    assert found
    o, c, f = (torch.tensor(numbers[name], dtype=torch.float64) for name in "ocf")
    assert float(found[1]) == pytest.approx(float(torch.tanh(o * c) * f - 3), abs=1e-3)
    assert float(found[2]) == pytest.approx(float(o * torch.tanh(c)), abs=1e-3)
    assert said(LSTM["i_pre"], "W_if x + W_hg h_prev").startswith("yours gives ")  # weights have no one number


def changed(node: ast.expr) -> list[tuple[str, str, ast.expr]]:
    """Each sign turned, term dropped, factor dropped: what was done, to which part, and the whole after it."""
    found: list[tuple[str, str, ast.expr]] = []
    parts, pieces = [*terms(node)], [*factors(node)]
    for k, (term, negative) in enumerate(parts):
        before, after = parts[:k], parts[k + 1 :]
        if len(parts) > 1:
            found.append(("not there", ast.unparse(term), summed([*before, *after])))
            found.append(("wrong sign", ast.unparse(term), summed([*before, (term, not negative), *after])))
            found += [(w, p, summed([*before, (e, negative), *after])) for w, p, e in changed(term)]
    for k, (factor, divides) in enumerate(pieces if len(pieces) > 1 else []):
        before, after = pieces[:k], pieces[k + 1 :]
        found.append(("missing", ast.unparse(factor), multiplied([*before, *after])))
        found += [(w, p, multiplied([*before, (e, divides), *after])) for w, p, e in changed(factor)]
    if isinstance(node, ast.Call):
        for k, argument in enumerate(node.args):
            given = [(w, p, [*node.args[:k], e, *node.args[k + 1 :]]) for w, p, e in changed(argument)]
            found += [(w, p, ast.Call(node.func, arguments, node.keywords)) for w, p, arguments in given]
    return found


@each_exercise
def test_a_line_with_one_thing_changed_is_wrong_and_told_so(exercise: Exercise) -> None:
    for what, part, mutant in changed(exercise.line.expression):
        if "@" in exercise.line.code and what == "missing":
            continue
        reason = said(exercise, ast.unparse(mutant))
        part = part.replace(" @ ", " ").replace(".T", "^T")
        named = what in reason and part in reason
        assert named or numbers_of(exercise, reason, value(mutant, exercise.known)), (ast.unparse(mutant), reason)


def numbers_of(exercise: Exercise, reason: str, answer: torch.Tensor) -> bool:
    """Whether a change that has this reason gives the answer's numbers: another change may be the same."""
    found = [value(each.expression, exercise.known) for each in mistakes(exercise) if each.says == reason]
    return any(torch.allclose(each, answer) for each in found if each.shape == answer.shape)


@each_exercise
@given(which=st.integers(0, 999))
def test_a_line_with_another_name_is_wrong_and_told_so(exercise: Exercise, which: int) -> None:
    known = exercise.known
    pairs = [(n, o) for n in exercise.line.names for o in exercise.names if n != o and known[n].shape == known[o].shape]
    assume(pairs)
    name, other = pairs[which % len(pairs)]
    true, mutant = (evaluated(e, known) for e in (exercise.line.expression, renamed(exercise, name, other)))
    assume(not torch.allclose(true, mutant))
    reason = said(exercise, ast.unparse(renamed(exercise, name, other)))
    if found := re.match(r"`(\w+)` stands where `(\w+)` should", reason):  # it may be another that gives the same
        torch.testing.assert_close(evaluated(renamed(exercise, found[2], found[1]), known), mutant)
    else:
        assert re.search("exchanged|missing|too much|times|not there|the derivative|in one place|that is", reason), (
            reason
        )


def renamed(exercise: Exercise, name: str, other: str) -> ast.expr:
    expression = ast.parse(exercise.line.code, mode="eval").body
    for part in ast.walk(expression):
        if isinstance(part, ast.Name) and part.id == name:
            part.id = other
    return expression


def evaluated(expression: ast.expr, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
    found = Line("", expression).evaluate(known).double()
    return found if found.dim() else found.expand(24, 1)


# ------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("exercise", "answer", "error"),
    [
        (LSTM["c"], "", "nothing was typed"),
        (LSTM["c"], " \t ", "nothing was typed"),
        (LSTM["c"], "__import__('os').system('true')", r"\"'\" cannot be read: a right side has names, numbers, \+"),
        (LSTM["c"], "__import__(f)", "__import__ is no function that is known here: sigmoid, tanh, relu, exp and such"),
        (LSTM["c"], "eval(f)", "eval is no function that is known here"),
        (LSTM["c"], "f.__class__", "`f.__class__` cannot stand here: a right side has names, numbers"),
        (LSTM["c"], "(f).T", "`f.T` cannot stand here: write a matrix product as W_ii x"),
        (LSTM["c"], "tanh(*f)", "`\\*f` cannot stand here"),
        (LSTM["c"], "f if g else i", "`f if g else i` cannot stand here"),
        (LSTM["c"], "f and g", "`f and g` cannot stand here"),
        (LSTM["c"], "f // g", "`f // g` cannot stand here"),
        (LSTM["c"], "0 < f < 1", "`0 < f < 1` cannot stand here"),
        (LSTM["c"], "f, g", r"`\(f, g\)` cannot stand here"),
        (LSTM["c"], "True * f", "`True` cannot stand here"),
        (LSTM["c"], "f[0]", "'\\[' cannot be read"),
        (LSTM["c"], "f \u202e* g", r"'\\u202e' cannot be read"),
        (LSTM["c"], "ｆ * g", r"'\\uff46' cannot be read"),  # noqa: RUF001
        (LSTM["c"], "\udcff", r"'\\udcff' cannot be read"),
        (LSTM["c"], "f\0", r"'\\x00' cannot be read"),
        (LSTM["c"], "9**9**9", r"an exponent should be a number of at most 9, got `9 \*\* 9`"),
        (LSTM["c"], "f^(1+1)", r"an exponent should be a number of at most 9, got `1 \+ 1`"),
        (LSTM["c"], "f^99999", "an exponent should be a number of at most 9, got `99999`"),
        (LSTM["c"], "9" * 400, r"a number should be one that float64 has, at most 1.8e\+308"),
        (LSTM["c"], "f + 1e999", "a number should be one that float64 has"),
        (LSTM["c"], "f*c_prev + 0x1*i*g", r"cannot be read at `0x1\*i\*g`; between two factors stands"),
        (LSTM["c"], "f + 1_000.5", "cannot be read at `1_000.5`"),
        (LSTM["c"], "f + " * 125 + "f", "a right side has at most 500 characters here, got 501"),
        (LSTM["c"], "tanh(" * 60 + "f" + ")" * 60, "a right side has at most 50 operations within each other here"),
        (LSTM["c"], "-" * 490 + "f", "a right side has at most 50 operations within each other here"),
        (LSTM["c"], "f if " + "-" * 400 + "f else f", "a right side has at most 50 operations within each other here"),
        (LSTM["c"], "(" * 100 + "f" + ")" * 99, "cannot be read"),
        (LSTM["c"], "f c_prev + i g", r"cannot be read at `c_prev \+ i g`; between two factors stands \*"),
        (LSTM["c"], "f * (c_prev", "cannot be read.*; between two factors stands"),
        (LSTM["c"], "1if", "cannot be read"),
        (LSTM["c"], "h = o * tanh_c", "asked for is c, got a line of h"),
        (LSTM["c"], "c", "c is what this line computes; did you mean c_prev\\?"),
        (LSTM["f"], "sigmoid(f)", "f is what this line computes; did you mean f_pre\\?"),
        (LSTM["h"], "h", "h is what this line computes; did you mean h_prev\\?"),
        (LSTM_BACK["dc"], "dc + dh", "dc is what this line computes; did you mean dc_next\\?"),
        (LSTM_BACK["do"], "do", "do is what this line computes$"),
        (LSTM["c"], "h", "h is not known yet here: its line comes later"),
        (LSTM_BACK["do"], "dc", "dc is not known yet here: its line comes later"),
        (LSTM["c"], "hprev", "hprev is not known here: did you mean h_prev\\?"),
        (LSTM["i_pre"], "W_ii x + W_hi h_prev + b_i", "b_i is not known here: did you mean b_ii\\?"),
        (LSTM["i_pre"], "W_ih x", "W_ih is not known here: did you mean W_ii\\?"),
        (LSTM["f"], "sigmoid(h_pre)", "h_pre is not known here: did you mean h_prev\\?"),  # nearer than f_pre is
        (LSTM["f"], "qqq", "qqq is not known here: known are h_prev, c_prev, i_pre, f_pre, g_pre, o_pre, i$"),
        (LSTM["c"], "tanh * f", r"tanh is a function: write tanh\(...\)"),
        (LSTM["c"], "tanh(f, g)", r"`tanh\(f, g\)`: it is tanh\(input\)"),
        (LSTM["c"], "clamp(f, g, 0)", r"`clamp\(f, g, 0\)` cannot be evaluated: "),
        (LSTM["c"], "f @ c_prev", "`f @ c_prev`: f is no matrix: a matrix product is W @ x, and between two vectors "),
        (LSTM["i_pre"], "W_ii * x", r"`W_ii \* x`: the shapes differ; the product of a matrix and a vector is W @ x"),
        (LSTM["i_pre"], "W_ii h_prev", "`W_ii @ h_prev`: the matrix has not as many columns as the vector has rows"),
        (LSTM["i_pre"], "W_hi @ W_hi", r"it should be a vector as long as i_pre, got one of shape \[24, 24\]"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(exercise: Exercise, answer: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        judge(exercise, answer)


ALPHABET = ["f", "c_prev", "i", "g", "(", ")", "+", "-", "*", "**", "^", "/", " ", "1", "9", ".", ",", "=", "<", "@"]
ALPHABET += ["tanh(", "where(", "clamp(", "lerp(", "leaky_relu(", "softplus(", "x", "W_hi", "not ", "lambda", ":=", "j"]
ALPHABET += ["9" * 400]


@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(ALPHABET), max_size=12).map("".join)))
def test_whatever_is_typed_is_judged_or_refused(answer: str) -> None:
    for exercise in (LSTM["c"], LSTM["i_pre"]):
        try:
            verdict = judge(exercise, answer)
        except ValueError:
            continue
        assert verdict.right or verdict.reason

"""Causes in the lines of one step: an operator, an activation, a gate turned round, a bias at the wrong place."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from itertools import combinations, permutations

from ....equations.equations import Equations
from ....equations.lines import Line, line
from ..reference import Change
from .variant import Facts, Variant, Variants

_SIGMOIDS = (
    "hard_sigmoid",
    "hard_sigmoid_of_keras",
    "tanh",
    "relu",
    "identity",
    "softsign",
    "exp",
    "softplus",
    "hardtanh",
)
_TANHS = ("sigmoid", "relu", "identity", "hardtanh", "softsign", "gelu", "silu", "elu", "leaky_relu", "softplus")
_PYTHON = {"identity": "nothing", "hard_sigmoid_of_keras": "clip(0.2 * x + 0.5, 0, 1)"}
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


def lines_of(facts: Facts) -> tuple[Line, ...]:
    return Equations(facts.configuration.twin.cell).forward


def _instead(*texts: str) -> Change:
    """A change that puts these lines in the places of those with the same targets."""
    new = {each.target: each for each in map(line, texts)}
    return {"lines": lambda lines: tuple(new.get(each.target, each) for each in lines)}


def _is(facts: Facts, name: str) -> bool:
    return facts.configuration.twin.layer.__name__ == name


def forget_bias(facts: Facts) -> Variants:
    for k in facts.forget_bias if _is(facts, "LSTM") else ():
        yield Variant(f"adds {k:.6g} to the forget gate before its sigmoid", with_forget_bias(k))


def with_forget_bias(k: float) -> Change:
    """The change that adds a constant to the forget gate's pre-activation."""
    return _instead(f"f = sigmoid(f_pre + {k!r})")


def reset_before_product(facts: Facts) -> Variants:
    if _is(facts, "GRU"):
        inside = "n = tanh(n_x + (r * h_prev) @ W_hn.mT + b_hn)"
        yield Variant("computes n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)", _instead(inside))


def update_flipped(facts: Facts) -> Variants:
    if _is(facts, "GRU"):
        yield Variant("computes h = z * n + (1 - z) * h_prev", _instead("h = z * n + (1 - z) * h_prev"))


def candidate_bias(facts: Facts) -> Variants:
    if _is(facts, "GRU"):
        yield Variant("adds b_hn outside the reset gate", _instead("n = tanh(n_x + r * (n_h - b_hn) + b_hn)"))
        yield Variant("never adds b_hn", _instead("n = tanh(n_x + r * (n_h - b_hn))"))
        yield Variant("adds b_in inside the reset gate", _instead("n = tanh(n_x - b_in + r * (n_h + b_in))"))


def output_activation(facts: Facts) -> Variants:
    if _is(facts, "LSTM"):
        for function in ("identity", *(f for f in _TANHS if f != "identity")):
            written = "o * c" if function == "identity" else f"o * {function}(c)"
            yield Variant(f"computes h = {written}", _instead(f"tanh_c = {function}(c)"))


def activation(facts: Facts) -> Variants:
    def calls(each: Line) -> list[ast.Call]:
        return [n for n in ast.walk(each.expression) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]

    def renamed(each: Line, function: str) -> str:
        tree = copy.deepcopy(each.expression)
        calls(each._replace(expression=tree))[0].func = ast.Name(function)
        return f"{each.target} = {ast.unparse(tree)}"

    lines = [each for each in lines_of(facts) if calls(each) and each.target != "tanh_c"]
    found = {each.target: calls(each)[0].func.id for each in lines}  # type: ignore[attr-defined]
    for each in lines:
        name = found[each.target]
        for function in _SIGMOIDS if name == "sigmoid" else (_TANHS if name == "tanh" else ("tanh", *_TANHS)):
            if function != name:
                said = f"applies {_PYTHON.get(function, function)} where {each.target} = {each.right} has {name}"
                yield Variant(said, _instead(renamed(each, function)))
        if name == "relu":  # which twice is as once
            continue
        twice = f"{each.target} = {name}({renamed(each, name).split(' = ', 1)[1]})"
        yield Variant(
            f"applies {name} twice to {facts.name(each.target) if each.target in facts.gates else each.target}",
            _instead(twice),
        )
    sigmoids = [each for each in lines if found[each.target] == "sigmoid"]
    for function in _SIGMOIDS if len(sigmoids) > 1 else ():
        said = f"applies {_PYTHON.get(function, function)} where every gate has sigmoid"
        yield Variant(said, _instead(*(renamed(each, function) for each in sigmoids)))
    if _is(facts, "LSTM"):
        for function in _TANHS[1:]:
            texts = [f"tanh_c = {function}(c)", f"g = {function}(g_pre)"]
            yield Variant(
                f"applies {_PYTHON.get(function, function)} where tanh stands, to g and to c", _instead(*texts)
            )


def operator(facts: Facts) -> Variants:
    for each in lines_of(facts):
        for text, was, now in _exchanged(each):
            yield Variant(f"computes {text.replace('tanh_c', 'tanh(c)')}, with {now} for {was}", _instead(text))
    # sums that the engine makes before the lines: W x + b + W h + b
    for gate in facts.gates:
        for of in (each for each in lines_of(facts) if f"{gate}_pre" in each.names):
            for now in ("-", "*"):
                text = of.code.replace(f"{gate}_pre", f"({gate}_x {now} {gate}_h)")
                shown = f"(W_i{gate} x + b_i{gate}) {now} (W_h{gate} h + b_h{gate})"
                yield Variant(f"has {shown} in {facts.name(gate)}", _instead(f"{of.target} = {text}"))


def _exchanged(each: Line) -> Iterator[tuple[str, str, str]]:
    count = sum(isinstance(node, ast.BinOp) for node in ast.walk(each.expression))
    for k in range(count):
        for new in _SIGNS:
            tree = copy.deepcopy(each.expression)
            node = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp)][k]
            old = type(node.op)
            if new is not old and old in _SIGNS:
                node.op = new()
                yield f"{each.target} = {ast.unparse(tree)}", _SIGNS[old], _SIGNS[new]


def peephole(facts: Facts) -> Variants:
    """With the subject's own vectors, in any assignment to the gates, of each [H] or of all three [3H]."""
    H = facts.configuration.hidden_size
    if not _is(facts, "LSTM"):
        return
    vectors = [f"own_{k}" for k, n in enumerate(facts.own) if n == H]
    for k, n in enumerate(facts.own):
        if n == 3 * H:
            parts = [f"own_{k}[{j * H}:{j * H + H}]" for j in range(3)]
            yield from (v for order in permutations(parts) for v in _peeping(dict(zip("ifo", order, strict=True))))
    used = min(len(vectors), 3)  # of four, made in one loop, one may have no use
    for gates in combinations("ifo", used) if vectors else ():
        for chosen in permutations(vectors, used):
            yield from _peeping(dict(zip(gates, chosen, strict=True)))


def _peeping(vectors: dict[str, str]) -> Variants:
    """Of i and f through c_prev, of o through c, or c_prev as well; before the sigmoid or behind it."""
    for seen in ("c", "c_prev") if "o" in vectors else ("c_prev",):
        states = {"i": "c_prev", "f": "c_prev", "o": seen}
        for form, where in (
            ("sigmoid({g}_pre + {p} * {s})", ""),
            ("sigmoid({g}_pre) + {p} * {s}", ", added behind the sigmoid"),
        ):
            texts = [f"{g} = {form.format(g=g, p=p, s=states[g])}" for g, p in vectors.items()]
            new = {each.target: each for each in map(line, texts)}

            def lines(given: tuple[Line, ...], new: dict[str, Line] = new) -> tuple[Line, ...]:
                changed = [new.get(each.target, each) for each in given]
                o = next(each for each in changed if each.target == "o")
                changed.remove(o)  # it may need c
                changed.insert([each.target for each in changed].index("c") + 1, o)
                return tuple(changed)

            said = " and ".join(f"of {g} through {states[g]}" for g in vectors)
            yield Variant(f"has peepholes, {said}{where}, which nn.LSTM has not", {"lines": lines})

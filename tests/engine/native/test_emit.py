"""The emitted C by what it computes: torch's functions over all floats, and expressions of every form."""

import ctypes
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scratchrnn.engine.native import build, emit
from scratchrnn.equations import line

pytestmark = pytest.mark.compiled

# The largest error over all floats, in units in the last place, of float and of double.
LARGEST_ERRORS = {
    "exp": (1.5, 1.5, np.exp),
    "expm1": (2.5, 2.5, np.expm1),
    "sigmoid": (3.5, 3.5, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (4, 4, np.tanh),
    "log": (3, 3, np.log),
    "log1p": (5, 5, np.log1p),
    "sqrt": (0.5, 0.5, np.sqrt),
    "abs": (0, 0, np.abs),
    "square": (0.5, 0.5, np.square),
}
FLUSHED = {"exp", "sigmoid", "square"}  # results below the smallest normal number may be zero or imprecise

EXPRESSIONS = [
    "relu(a_pre)",
    "sign(a_pre)",
    "maximum(a_pre, 0.5 * b_pre)",
    "minimum(a_pre, b_pre)",
    "clamp(a_pre, -1, 2)",
    "clamp_max(a_pre, 0.5)",
    "clamp_min(a_pre, b_pre)",
    "where(a_pre > b_pre, a_pre, 2 * b_pre)",
    "where(a_pre >= 1, a_pre, 0)",
    "leaky_relu(a_pre)",
    "leaky_relu(a_pre, 0.2)",
    "elu(a_pre)",
    "elu(a_pre, alpha=0.5)",
    "hardtanh(a_pre)",
    "hardtanh(a_pre, -2, max_val=0.5)",
    "hardsigmoid(a_pre)",
    "softplus(a_pre)",
    "softplus(a_pre, 2, threshold=3)",
    "logsigmoid(a_pre)",
    "lerp(a_pre, b_pre, 0.25)",
    "lerp(a_pre, b_pre, sigmoid(a_pre))",
    "a_pre ** 2",
    "a_pre ** 3 - b_pre ** -2",
    "pow(square(a_pre) + 1, -1.5)",
    "abs(a_pre) ** 0.5",
    "a_pre - (b_pre - a_pre)",
    "a_pre / (b_pre / 2) * 3",
    "-a_pre * -(b_pre + 1e-3)",
    "(a_pre > 0) * b_pre + (b_pre <= a_pre)",
    "where((a_pre > 0) * (b_pre > 0), 1.0, -0.125)",
    "(1 - a_pre) * (2 - 3)",
    "1",
    "number * a_pre + tanh(number * number)",
]


def compiled(expressions):
    """C of lines that compute the expressions from a_pre and b_pre, as `(a, b) -> [results]` on numpy arrays."""
    states = tuple(f"y{k}" for k in range(len(expressions)))
    equations = SimpleNamespace(
        cell=SimpleNamespace(name="TEST", gates=("a", "b"), split=(), pre_activations=("a", "b"), states=states),
        pre_activations=("a_pre", "b_pre"),
        arriving=tuple(f"d{s}" for s in states),
        numbers={"number": 0.5},
        named=[line(f"{s} = {e}") for s, e in zip(states, expressions, strict=True)],
        derived=[line("da_pre = dy0"), line("db_pre = dy0")],
        gradient=lambda name: f"d{name}",
    )
    text = emit.source(equations)
    for real in ("float", "double"):
        text += f"""
void each_{real}(const {real} *a, const {real} *b, {real} *y, int64_t n, const double *number)
{{
    for (int64_t i = 0; i < n; i += VECTOR_BYTES / sizeof({real})) {{
        vec_{real} pre[2] = {{load_{real}(a + i), load_{real}(b + i)}}, next[{len(states)}];
        update_{real}(pre, 0, number, next);
        for (int s = 0; s < {len(states)}; s++)
            store_{real}(y + s * n + i, next[s]);
    }}
}}
"""
    library = build.load(text, "test")

    def run(a, b, number=0.5):
        n = len(a)
        assert n % 16 == 0
        results = np.empty((len(states), n), a.dtype)
        function = library.each_float if a.dtype == np.float32 else library.each_double
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (a, b, results))
        function(*pointers, ctypes.c_int64(n), ctypes.byref(ctypes.c_double(number)))
        return results

    return run


@cache
def functions():
    return compiled([f"{name}(a_pre)" for name in LARGEST_ERRORS])


@cache
def expressions():
    return compiled(EXPRESSIONS)


def sample(dtype):
    """Of all floats, those whose functions differ from 0, 1 and each other, and the edges."""
    generator = np.random.default_rng(0)
    bits = np.uint32 if dtype == np.float32 else np.uint64
    info = np.finfo(dtype)
    edges = [
        0,
        -0.0,
        info.tiny,
        -info.tiny,
        info.smallest_subnormal,
        info.max,
        -info.max,
        np.inf,
        -np.inf,
        np.nan,
        1,
        -1,
    ]
    edges += [
        s * e for s in (1, -1) for e in (87.3, 88, 88.7, 89, 103.9, 104, 708.3, 709, 709.8, 710, 745, 746, 10, 22)
    ]
    return np.concatenate(
        [
            generator.integers(0, np.iinfo(bits).max, 1 << 18, bits, endpoint=True).view(dtype),
            generator.uniform(-120, 120, 1 << 18).astype(dtype),
            generator.uniform(-800, 800, 1 << 16).astype(dtype),
            generator.normal(size=1 << 18).astype(dtype)
            * dtype(2.0) ** -generator.integers(0, 30, 1 << 18).astype(dtype),
            np.resize(np.array(edges, dtype), 64),
        ]
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LARGEST_ERRORS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_largest_error_of_each_function_over_all_floats(name, dtype):
    x = sample(dtype)
    y = functions()(x, x)[list(LARGEST_ERRORS).index(name)]
    *limits, function = LARGEST_ERRORS[name]
    exact = function(x.astype(np.longdouble))
    rounded = exact.astype(dtype)
    assert np.array_equal(np.isnan(y), np.isnan(rounded))
    there = ~np.isnan(rounded)
    finite = there & np.isfinite(rounded)
    unit = np.spacing(np.maximum(np.abs(rounded[finite]), np.finfo(dtype).tiny)).astype(np.longdouble)
    off = np.abs(y[finite].astype(np.longdouble) - exact[finite]) / unit
    if name in FLUSHED:
        off[np.abs(exact[finite]) < np.finfo(dtype).tiny] = 0
        assert np.abs(y[there][np.abs(exact[there]) < np.finfo(dtype).tiny]).max() <= np.finfo(dtype).tiny
    worst = off.argmax()
    assert off[worst] <= limits[dtype == np.float64], (x[finite][worst], y[finite][worst], exact[finite][worst])
    assert np.array_equal(y[there & ~finite], rounded[there & ~finite])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_torchs(expression, dtype):
    edges = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-3, 30.0, -30.0, torch.inf, -torch.inf, torch.nan])
    pairs = torch.cartesian_prod(edges, edges)
    a, b = torch.cat([pairs, 3 * torch.randn(156, 2)]).to(dtype).T.contiguous()
    names = {"number": torch.tensor(0.5, dtype=dtype), "a_pre": a, "b_pre": b}
    for name in ("relu", "leaky_relu", "elu", "hardtanh", "hardsigmoid", "softplus", "logsigmoid"):
        names[name] = getattr(torch.nn.functional, name)
    for name in (
        "sign",
        "maximum",
        "minimum",
        "clamp",
        "clamp_min",
        "clamp_max",
        "where",
        "lerp",
        "addcmul",
        "abs",
        "pow",
        "square",
        "sigmoid",
        "tanh",
    ):
        names[name] = getattr(torch, name)
    if expression.startswith("where((a"):
        names["where"] = lambda c, x, y: torch.where(c != 0, x, y)
    expected = torch.as_tensor(eval(expression, names), dtype=dtype).expand(256)
    found = torch.from_numpy(expressions()(a.numpy(), b.numpy())[EXPRESSIONS.index(expression)])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("erf(a_pre)", "erf"),
        ("a_pre ** b_pre", "a_pre ** b_pre"),
        ("a_pre // 2", "a_pre // 2"),
        ("tanh(a_pre, 2)", "tanh"),
        ("clamp(a_pre, low=1)", "clamp"),
        ("lerp(a_pre, b_pre)", "lerp"),
        ("power_of_two(a_pre)", "power_of_two"),
    ],
)
def test_what_has_no_c_is_named(text, found):
    with pytest.raises(ValueError, match="there is no C for") as caught:
        compiled([text])
    assert found in str(caught.value)


def test_names_that_mean_something_in_c_are_free():
    equations = SimpleNamespace(
        cell=SimpleNamespace(name="TEST", gates=("int", "V"), split=(), pre_activations=("int", "V"), states=("do",)),
        pre_activations=("int_pre", "V"),
        arriving=("ddo",),
        numbers={"number": 0.5},
        named=[
            line("exp = int_pre * V"),
            line("exp_ = exp + 1"),
            line("INPUT_GATES = exp_"),
            line("NULL = INPUT_GATES"),
            line("GATES = NULL"),
            line("η = GATES"),
            line("do = tanh(η)"),
        ],
        derived=[line("dint_pre = ddo"), line("dV = ddo * η")],
        gradient=lambda name: f"d{name}",
    )
    assert build.load(emit.source(equations), "test").run_scan_float

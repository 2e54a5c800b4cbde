"""The native scan beside the torch engine's: every layout, every division of work, and numbers that are none."""

from contextlib import contextmanager

import pytest
import torch
from running import assert_as_accurate
from table import BY_NAME, ROWS
from torch.utils._python_dispatch import TorchDispatchMode

import scratchrnn as sr
from scratchrnn.engine import backward, forward, segments
from scratchrnn.engine.columns import Operands, Weights
from scratchrnn.engine.forward import Run, Setting
from scratchrnn.engine.native import call, scratch, takes
from scratchrnn.engine.native import run as native

pytestmark = pytest.mark.compiled

each_row = pytest.mark.parametrize("row", [row for row in ROWS if not row.cell.walk], ids=str)
DIVISIONS = {
    "one thread": (call.ONE_THREAD, 1),
    "one thread, the large products by 2": (call.ONE_THREAD, 2),
    "one thread, the large products by 3": (call.ONE_THREAD, 3),
    "rows alone, 2": (call.ROWS_ALONE, 2),
    "rows alone, 3": (call.ROWS_ALONE, 3),
    "panels, 2": (call.PANELS, 2),
    "panels, 3": (call.PANELS, 3),
    "more threads than panels": (call.PANELS, 11),
    "more threads than rows": (call.ROWS_ALONE, 11),
}
SHAPES = [
    (4, 3, 5, 7),
    (1, 1, 3, 5),
    (3, 1, 4, 40),
    (5, 9, 3, 33),
    (3, 0, 2, 4),
    (3, 13, 4, 70),
    (90, 7, 3, 5),
    (17, 1, 5, 21),
    (2, 4, 21, 37),
]  # T, B, I, H


@contextmanager
def divided(division, threads):
    """No step is too small, and on the way back no product, for the threads that a test gives it."""

    def how(setting, sizes, itemsize, back):
        return call.How(division, threads if back or division != call.ONE_THREAD else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call, "how_divided", how)
        yield


def scan_of(row, T, B, I, H, dtype=torch.float64, reverse=False, packed=False, bias=True, R=None):  # noqa: E741
    """A setting and random operands, of weights that neither saturate the gates nor leave them where they are."""
    cell = row.cell
    rows, R = len(cell.gates) * H, R or H
    sizes = [B] * T if not packed else [B, *sorted(torch.randint(1, B + 1, (T - 1,)).tolist(), reverse=True)]
    x = torch.randn(sum(sizes), I, dtype=dtype) if packed else torch.randn(T, B, I, dtype=dtype)
    biases = [(rows,) if bias else None] * 2
    shapes = [(rows, I), (rows, R), *biases, (R, H) if R != H else None]
    weights = [None if s is None else 0.3 * torch.randn(s, dtype=dtype) for s in shapes]
    state = tuple(torch.randn(1, B, H if s else R, dtype=dtype) for s in range(len(cell.states)))
    state = tuple(
        s.abs() + 1 if n == "n" else s for n, s in zip(cell.states, state, strict=True)
    )  # sLSTM divides by it
    operands = Operands(x, Weights(*weights), state)
    return Setting(cell, sizes, reverse, native=takes.functions_for(cell, present(operands.flat()))), operands


def upstream_of(run):
    return Run(torch.randn_like(run.output), tuple(torch.randn_like(s) for s in run.state))


def all_of(operands):
    return Operands.of([t is not None for t in operands.flat()])


def present(tensors):
    return [t for t in tensors if t is not None]


def by_autograd(setting, operands, upstream):
    """The gradients by the torch engine, walked: no adjoint is asked."""
    leaves = [None if t is None else t.clone().requires_grad_() for t in operands.flat()]
    found = forward.steps(setting, Operands.of(leaves), functional=True)
    return torch.autograd.grad([found.output, *found.state], present(leaves), [upstream.output, *upstream.state])


def assert_same(setting, operands):
    """Outputs, last states, what is kept and gradients, as the torch engine has them."""
    expected = forward.steps(setting, operands, keep=True)
    found, alone = native.steps(setting, operands, keep=True), native.steps(setting, operands)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close([found.output, *found.state], [expected.output, *expected.state], **close)
    torch.testing.assert_close([alone.output, *alone.state], [expected.output, *expected.state], **close)
    torch.testing.assert_close(found.kept.flat(), expected.kept.flat(), **close)
    assert alone.kept is None
    upstream = upstream_of(expected)
    gradients = native.gradients(setting, operands, found.kept, all_of(operands), upstream)
    torch.testing.assert_close(present(gradients.flat()), list(by_autograd(setting, operands, upstream)), **close)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_row
def test_every_layout_agrees_with_the_torch_engine(row, shape):
    for reverse, packed, bias in ((False, False, True), (True, False, False), (False, True, True), (True, True, True)):
        if not (packed and shape[1] == 0):
            assert_same(*scan_of(row, *shape, reverse=reverse, packed=packed, bias=bias))


@pytest.mark.parametrize("how", DIVISIONS.values(), ids=DIVISIONS)
@each_row
def test_every_division_of_work_gives_the_same(row, how):
    for packed, reverse in ((False, False), (True, False), (True, True)):
        for T, B in ((5, 9), (1, 8)):  # of few rows the weights stay as they lie
            scan = scan_of(row, T, B, 4, 70, packed=packed, reverse=reverse)
            with divided(*how):
                assert_same(*scan)


@pytest.mark.parametrize("how", DIVISIONS.values(), ids=DIVISIONS)
@pytest.mark.parametrize("R", [3, 66])
@pytest.mark.parametrize("row", [row for row in ROWS if row.projects], ids=str)
def test_a_projection_in_every_division(row, how, R):
    for packed, reverse in ((False, False), (True, False), (True, True)):
        with divided(*how):
            assert_same(*scan_of(row, 4, 7, 3, 19, R=R, packed=packed, reverse=reverse))


@pytest.mark.parametrize("row", [row for row in ROWS if row.projects], ids=str)
def test_a_thread_alone_with_its_rows_has_the_same_ones_in_every_product(row):
    for threads in (2, 3):
        with divided(call.ROWS_ALONE, threads):
            assert_same(*scan_of(row, 6, 64, 30, 19, R=3))


@pytest.mark.parametrize(
    "shape", [(50, 1, 20, 20), (30, 8, 128, 128), (10, 16, 40, 600), (2, 4, 1500, 300), (3000, 32, 5, 16)], ids=str
)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_float32_is_as_accurate_as_torch_nn(name, shape):
    row, (T, B, I, H) = BY_NAME[name], shape  # noqa: E741
    theirs = row.twin(I, H)
    exact = row.twin(I, H).double()
    ours = row.layer(I, H)
    ours.load_state_dict(theirs.state_dict())
    exact.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, I)
    upstream = torch.randn(T, B, H)
    results = []
    for module in (ours, theirs, exact):
        dtype = next(module.parameters()).dtype
        leaf = x.to(dtype).requires_grad_()
        output, _ = module(leaf)
        results.append([output, *torch.autograd.grad(output, [leaf, *module.parameters()], upstream.to(dtype))])
    assert_as_accurate(*results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_forward_bits_do_not_depend_on_the_threads_and_no_bits_on_the_run(dtype):
    for shape in ((6, 7, 9, 70), (6, 1, 9, 70), (3, 40, 300, 150)):
        setting, operands = scan_of(BY_NAME["GRU"], *shape, dtype=dtype)
        runs = []
        for how in DIVISIONS.values():
            with divided(*how):
                runs.append(native.steps(setting, operands, keep=True))
        for each in runs[1:]:
            assert torch.equal(each.output, runs[0].output)
            assert all(map(torch.equal, each.kept.flat(), runs[0].kept.flat()))
        upstream, needed = upstream_of(runs[0]), all_of(operands)
        for how in DIVISIONS.values():
            with divided(*how):
                found = [native.gradients(setting, operands, runs[0].kept, needed, upstream) for _ in range(4)]
            first, *others = [present(each.flat()) for each in found]
            assert all(all(map(torch.equal, each, first)) for each in others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e4, -1e4, 1e38])
@pytest.mark.parametrize("name", ["RNN", "RNN_relu", "LSTM", "GRU"])
def test_saturated_infinite_and_undefined_numbers_are_the_torch_engines(name, value, dtype):
    setting, operands = scan_of(BY_NAME[name], 3, 2, 4, 18, dtype=dtype)
    operands.x[1, 0, 2] = value
    expected, found = forward.steps(setting, operands, keep=True), native.steps(setting, operands, keep=True)
    same = {"equal_nan": True, "rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close([found.output, *found.state], [expected.output, *expected.state], **same)
    upstream = upstream_of(expected)
    gradients = native.gradients(setting, operands, expected.kept, all_of(operands), upstream)
    theirs = backward.gradients(setting, operands, expected.kept, all_of(operands), upstream)
    for ours, torchs in zip(present(gradients.state), theirs.state, strict=True):
        torch.testing.assert_close(ours.isnan(), torchs.isnan())


def test_strided_inputs_are_what_they_show():
    setting, operands = scan_of(BY_NAME["LSTM"], 4, 3, 5, 18)
    x = torch.randn(3, 5, 4, dtype=torch.float64).permute(2, 0, 1)
    weights = operands.weights._replace(hh=operands.weights.hh.T.contiguous().T)
    state = tuple(torch.randn(1, 1, 18, dtype=torch.float64).expand(1, 3, 18) for _ in range(2))
    assert_same(setting, operands._replace(x=x, weights=weights, state=state))
    strided = torch.randn(72, 10, dtype=torch.float64)[:, ::2]
    assert_same(setting, operands._replace(weights=weights._replace(ih=strided)))


@each_row
@pytest.mark.parametrize("how", [{}, {"packed": True}, {"packed": True, "reverse": True}], ids=str)
def test_a_state_that_is_not_given_is_zeros(row, how):
    """On both engines, forward and, as the gradient of a last state, back. An sLSTM's is nan: it divides by a state."""
    same = {"rtol": 0, "atol": 0, "equal_nan": True}
    setting, operands = scan_of(row, 4, 5, 3, 18, **how)
    zeros = operands._replace(state=tuple(torch.zeros_like(s) for s in operands.state))
    none = operands._replace(state=(None,) * len(operands.state))
    mixed = operands._replace(state=(operands.state[0], *[None] * (len(operands.state) - 1)))
    of_mixed = mixed._replace(state=(mixed.state[0], *zeros.state[1:]))
    for engine in (native, forward):
        expected, found = (engine.steps(setting, each, keep=True) for each in (of_mixed, mixed))
        torch.testing.assert_close((found.output, found.state), (expected.output, expected.state), **same)
        expected, found = (engine.steps(setting, each, keep=True) for each in (zeros, none))
        torch.testing.assert_close((found.output, found.state), (expected.output, expected.state), **same)
    upstream = Run(torch.randn_like(found.output), tuple(torch.zeros_like(s) for s in found.state))
    for engine in (native, backward):
        expected = engine.gradients(setting, zeros, found.kept, all_of(zeros), upstream)
        upstream_none = upstream._replace(state=(None,) * len(found.state))
        given = engine.gradients(setting, none, found.kept, all_of(zeros), upstream_none)
        torch.testing.assert_close(present(given.flat()), present(expected.flat()), **same)


@each_row
def test_nothing_is_read_that_nobody_has_written(row, monkeypatch):
    """New memory is filled with nan, and so is what a thread has kept from call to call."""

    borrow = scratch.borrow
    monkeypatch.setattr(call, "borrow", lambda: borrow().fill_(255))
    torch.use_deterministic_algorithms(True)
    try:
        for R in (None, 3) if row.projects else (None,):
            for packed, reverse in ((False, False), (True, True)):
                scan = scan_of(row, 5, 7, 3, 21, packed=packed, reverse=reverse, R=R)
                for division in (call.ONE_THREAD, call.ROWS_ALONE, call.PANELS):
                    with divided(division, 2):
                        assert_same(*scan)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_thread_keeps_its_memory_unless_it_is_large():
    of_thread = scratch._of_thread.__dict__
    layer = sr.LSTM(3, 20)
    with torch.no_grad():
        layer(torch.randn(4, 2, 3))
        kept = of_thread["buffer"]
        layer(torch.randn(2, 2, 3))
        assert of_thread["buffer"] is kept
        sr.LSTM(3, 2100)(torch.randn(1, 1, 3))  # whose panels take more than 64 MiB
    assert "buffer" not in of_thread


def test_new_memory_of_a_long_sequence_is_asked_for_in_large_pages(monkeypatch):
    asked = []
    monkeypatch.setattr(scratch, "_HUGE_PAGES", 14)
    monkeypatch.setattr(scratch, "_madvise", lambda: lambda *wish: asked.append(wish))
    x = torch.randn(5000, 8, 64, requires_grad=True)
    for every in (None, 100):
        layer = sr.RNN(64, 64)
        layer.checkpoint_every = every
        output, _ = layer(x)
        kept = [] if every else [t for t in output.grad_fn.saved_tensors[-2:] if t.numel() == output.numel()]
        (dx,) = torch.autograd.grad(output.sum(), x)
        assert len(kept) == (0 if every else 2)
        spans = [(t.data_ptr(), t.data_ptr() + t.nbytes) for t in (output, *kept, dx)]
        assert len(asked) == len(spans)
        for (start, length, advice), (first, end) in zip(asked, spans, strict=True):
            assert advice == 14
            assert start % 2**21 == length % 2**21 == 0
            assert first <= start < start + length <= end
            assert length > end - first - 2**22
        asked.clear()
    sr.RNN(64, 64)(x[:50])
    monkeypatch.setattr(scratch, "_HUGE_PAGES", None)
    sr.RNN(64, 64)(x)
    assert not asked


def test_a_long_scan_is_called_in_pieces(monkeypatch):
    monkeypatch.setattr(call, "_PIECE", 1.0)  # a step each
    for packed, reverse in ((False, False), (True, False), (True, True)):
        for division, threads in ((call.ONE_THREAD, 1), (call.PANELS, 2)):
            scan = scan_of(BY_NAME["GRU"], 5, 4, 3, 20, packed=packed, reverse=reverse)
            with divided(division, threads):
                assert_same(*scan)


@pytest.mark.parametrize("operations", [call._PIECE, 1.0, 50_000.0])
@pytest.mark.parametrize("every", [1, 2, 5])
@each_row
def test_segments_are_one_scan_after_the_other(row, every, operations, monkeypatch):
    """All in one call into C; a step a call; some steps or segments a call."""
    monkeypatch.setattr(call, "_PIECE", operations)
    close = {"rtol": 1e-12, "atol": 1e-12}
    for packed, reverse, B in ((False, False, 4), (True, False, 4), (True, True, 9), (False, True, 1)):
        R = 3 if row.projects and packed else None
        setting, operands = scan_of(row, 5, B, 3, 20, packed=packed, reverse=reverse, R=R)
        setting = setting._replace(checkpoint_every=every)
        expected = segments.steps(setting._replace(native=None), operands, keep=True)
        upstream = upstream_of(expected)
        of_gradients = list(by_autograd(setting, operands, upstream))
        for how in ((call.ONE_THREAD, 1), (call.ONE_THREAD, 2), (call.ROWS_ALONE, 2), (call.PANELS, 3)):
            with divided(*how):
                found = native.steps(setting, operands, True)
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(ours, theirs, **close)
            for kept in (found.kept, expected.kept):  # what one engine has kept the other may take
                with divided(*how):
                    gradients = native.gradients(setting, operands, kept, all_of(operands), upstream)
                torch.testing.assert_close(present(gradients.flat()), of_gradients, **close)


@pytest.mark.parametrize("packed", [False, True])
def test_segments_longer_than_the_sequence_take_no_more_room_than_it(packed):
    setting, operands = scan_of(BY_NAME["LSTM"], 4, 3, 4, 18, packed=packed)
    found = []
    for every in (4, 10**30):
        scratch._of_thread.__dict__.pop("buffer", None)
        setting = setting._replace(checkpoint_every=every)
        run = native.steps(setting, operands, keep=True)
        upstream = Run(run.output.cos(), tuple(s.cos() for s in run.state))
        gradients = native.gradients(setting, operands, run.kept, all_of(operands), upstream)
        found.append((scratch._of_thread.buffer.numel(), present(gradients.flat())))
    assert found[0][0] == found[1][0]
    assert all(map(torch.equal, found[0][1], found[1][1]))


def test_segments_of_strided_operands_are_those_of_what_they_show():
    setting, operands = scan_of(BY_NAME["LSTM"], 6, 3, 4, 18)
    setting = setting._replace(checkpoint_every=1)
    upstream = upstream_of(forward.steps(setting, operands))
    strided = Operands.of([t if t is None else t.mT.contiguous().mT if t.dim() > 1 else t for t in operands.flat()])
    expected, found = (native.steps(setting, each, keep=True) for each in (operands, strided))
    assert torch.equal(found.output, expected.output)
    of_strided, of_dense = (
        native.gradients(setting, each, expected.kept, all_of(operands), upstream) for each in (strided, operands)
    )
    torch.testing.assert_close(present(of_strided.flat()), present(of_dense.flat()), rtol=0, atol=0)


GAIN = 0.5


def gained(n: torch.Tensor, h_prev: torch.Tensor) -> tuple[torch.Tensor]:
    h = GAIN * torch.tanh(n) + h_prev / 2
    return (h,)


@pytest.mark.parametrize("every", [None, 2])
def test_what_c_reads_is_on_the_cpu_whatever_device_is_the_default(every):
    """The rows of a packed batch, the numbers of the lines, and what a new cell is tried on."""
    layer = sr.RecurrentLayer(sr.Cell("gained", ("n",), gained), 3, 20)
    layer.checkpoint_every = every
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(n, 3) for n in (5, 3, 1)])
    with sr.native.flags("require"):
        with torch.device("meta"):
            found = layer(packed)[0].data
            gradients = torch.autograd.grad(found.sum(), [*layer.parameters()])
        expected = layer(packed)[0].data
        of_expected = torch.autograd.grad(expected.sum(), [*layer.parameters()])
    assert torch.equal(found, expected)
    assert all(map(torch.equal, gradients, of_expected))


def test_the_output_may_be_changed_in_place_and_the_graph_kept():
    layer = sr.LSTM(3, 20)
    x = torch.randn(4, 2, 3, requires_grad=True)
    output, _ = layer(x)
    loss = output.square().sum()
    expected = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
    again = torch.autograd.grad(loss, [x, *layer.parameters()])
    assert all(map(torch.equal, expected, again))
    upstream = 2 * output.detach()
    output, _ = layer(x)
    found = torch.autograd.grad(output.add_(1), [x, *layer.parameters()], upstream)
    torch.testing.assert_close(found, expected)


def test_a_cell_without_an_adjoint_trains_by_the_derived_one():
    layer = sr.RecurrentLayer(BY_NAME["MGU_derived"].cell, 3, 20, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], x)
    assert "BPTT" in layer(x)[0].grad_fn.name()


# ---------------------------------------------------------------------------------------------- what is not taken


class Subclass(torch.Tensor):
    pass


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def refusals():
    plain = torch.randn(2, 3)
    yield "bfloat16", [plain.bfloat16()]
    yield "tensors of two dtypes", [plain, plain.double()]
    yield "Subclass is no plain tensor", [plain, plain.as_subclass(Subclass)]
    yield "torch.sparse_coo", [plain, plain.to_sparse()]
    yield "meta", [plain, plain.to("meta")]
    yield "values are not all in memory", [torch.randn(2, dtype=torch.complex64).conj().imag]


@pytest.mark.parametrize(("text", "tensors"), [*refusals()])
def test_other_tensors_go_to_the_torch_engine(text, tensors):
    assert text in (takes.refused_tensors(tensors) or "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of forward-mode AD
def test_whoever_has_to_see_every_operation_sees_it():
    plain = torch.randn(2, 3)
    assert takes.refused_tensors([plain]) is None
    with Watching():
        assert "mode" in (takes.refused_tensors([plain]) or "")
    seen = []
    torch.func.vmap(lambda t: seen.append(takes.refused_tensors([t])) or t)(plain)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(plain, plain)
        seen.append(takes.refused_tensors([dual]))
    assert all(seen)
    assert len(seen) == 2


def test_an_adjoint_that_departs_on_purpose_is_not_replaced_by_the_derived_one():
    lstm = BY_NAME["LSTM"].cell
    own = sr.Cell("OWN", lstm.gates, lstm.update, lstm.adjoint, check=False)
    assert "adjoint" in (takes.refused_cell(own) or "")

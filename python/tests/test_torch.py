"""gatescan.torch against torch.nn: results, gradients, errors, files.

Of PyTorch's own test cases (`common_modules`, PyTorch 2.15), these are run, of RNN, GRU and LSTM:

* 256, 128 and 128 samples forward and backward: each in float32 and float64, in training and not;
* half of them, those in float64, also by `gradcheck`;
* 28 wrong calls of each layer.

Left out, with the reason:

* `gradgradcheck`: the layers have no second derivative; `test_second_derivative` checks the error.
* float16, bfloat16 and complex samples: the layers compute float32 and float64.
* `test_cpu_gpu_parity` and CUDA, MPS and XPU devices: there is none where these tests run.
* TorchScript: `torch.jit.script` does not take custom operators of this kind.
* `test_non_contiguous_tensors` and `test_memory_format` are done in `test_strides` for inputs of
  recurrent layers, which have no memory format.
"""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence
from torch.testing._internal import common_modules
from torch_support import PAIRS, assert_same, copied, flat, results, twins

import gatescan
import gatescan.torch as gt

DTYPES = [torch.float32, torch.float64]
INFOS = [
    (info, ours)
    for info in common_modules.module_db
    for theirs, ours in PAIRS
    if info.module_cls is theirs
]
NAMES = [ours.__name__ for _, ours in INFOS]

#: Samples of one type and mode, and wrong calls of one type; a later PyTorch may have more.
SAMPLES = {gt.RNN: 64, gt.GRU: 32, gt.LSTM: 32}
WRONG_CALLS = 14


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def samples(info, dtype, requires_grad, training):
    kwargs = {"device": "cpu", "dtype": dtype, "requires_grad": requires_grad}
    if info.module_cls is not torch.nn.LSTM:
        kwargs["with_packed_sequence"] = True
    yield from info.module_inputs_func(info, training=training, **kwargs)


def made(cls, sample, dtype, training):
    args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = cls(*args, dtype=dtype, **kwargs)
    return layer.train(training)


@pytest.mark.parametrize(("info", "ours"), INFOS, ids=NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
def test_samples(info, ours, dtype, training):
    """Forward and backward pass of PyTorch's samples, against its layer and its reference."""
    given = list(samples(info, dtype, True, training))
    assert len(given) >= SAMPLES[ours]
    for sample in given:
        expected = made(info.module_cls, sample, dtype, training)
        layer = made(ours, sample, dtype, training)
        layer.load_state_dict(expected.state_dict())
        inputs = sample.forward_input.args
        assert_same(expected, layer, inputs)
        is_packed = isinstance(inputs[0], PackedSequence)
        if sample.reference_fn is not None and not is_packed:
            reference = sample.reference_fn(layer, *inputs)
            torch.testing.assert_close(layer(*inputs), reference)


@pytest.mark.parametrize(("info", "ours"), INFOS, ids=NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_gradcheck(info, ours, training):
    """Gradients in float64 against finite differences, on PyTorch's samples."""
    given = list(samples(info, torch.float64, True, training))
    assert len(given) >= SAMPLES[ours]
    for sample in given:
        layer = made(ours, sample, torch.float64, training)
        inputs = copied(sample.forward_input.args)
        parameters = dict(layer.named_parameters())
        names = list(parameters)
        leaves = [leaf for leaf in flat(inputs) if leaf.requires_grad]

        def call(*values, layer=layer, names=names, inputs=inputs):
            count = len(values) - len(names)
            given = iter(values[:count])
            args = with_leaves(inputs, given)
            changed = dict(zip(names, values[count:], strict=True))
            return tuple(flat(torch.func.functional_call(layer, changed, args)))

        assert torch.autograd.gradcheck(
            call, (*leaves, *parameters.values()), check_forward_ad=False
        )


def with_leaves(value, given):
    """Return inputs whose tensors that need gradients come from `given`."""
    if isinstance(value, PackedSequence):
        return value._replace(data=with_leaves(value.data, given))
    if isinstance(value, torch.Tensor):
        return next(given) if value.requires_grad else value
    return None if value is None else tuple(with_leaves(part, given) for part in value)


@pytest.mark.parametrize(("info", "ours"), INFOS, ids=NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_inputs(info, ours, dtype):
    """PyTorch's wrong arguments raise the same exceptions with the same words."""
    errors = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=False
    )
    for error in errors:
        sample = error.module_error_input
        build, run = sample.constructor_input, sample.forward_input
        kwargs = dict(build.kwargs)
        if error.error_on is common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(error.error_type, match=error.error_regex):
                ours(*build.args, **kwargs)
        else:
            layer = ours(*build.args, **kwargs)
            with pytest.raises(error.error_type, match=error.error_regex):
                layer(*run.args, **run.kwargs)
    assert len(errors) >= WRONG_CALLS


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=NAMES)
def test_wrong_calls_raise_what_pytorch_raises(theirs, ours):
    expected, layer = twins(theirs, ours, 3, 4)
    is_lstm = ours is gt.LSTM
    state = torch.zeros(1, 2, 4)
    wrong = torch.zeros(1, 3, 4)
    unbatched = torch.zeros(1, 4)

    def pair(value):
        return (value, value) if is_lstm else value

    calls = [
        (torch.zeros(5, 2, 9),),
        (torch.zeros(3),),
        (torch.zeros(5, 2, 3), pair(wrong)),
        (torch.zeros(5, 2, 3), pair(unbatched)),
        (torch.zeros(5, 3), pair(state)),
        (torch.zeros(0, 2, 3),),
        (torch.zeros(5, 2, 3), pair(state.double())),
        (torch.zeros(5, 2, 3, dtype=torch.float64),),
    ]
    for call in calls:
        with pytest.raises((RuntimeError, ValueError)) as raised:
            expected(*call)
        with pytest.raises(raised.type):
            layer(*call)


def test_other_dtypes_are_refused_by_name():
    layer = gt.GRU(3, 4, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"the input is torch.bfloat16.*compute torch.float32"):
        layer(torch.zeros(5, 2, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=NAMES)
def test_larger_layers(theirs, ours):
    """Sizes above the tiles of the CPU's kernels, two layers, two directions.

    In float32 the gradients are sums of 630 rounded terms: neither library's error, against
    float64, may be larger than three times the other's.
    """
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    expected, layer = twins(theirs, ours, 19, 33, **options)
    values = torch.randn(21, 30, 19, requires_grad=True)
    singles = [results(own, (values,)) for own in (expected, layer)]
    inputs = (values.detach().double().requires_grad_(),)
    exact = results(expected.double(), inputs)
    torch.testing.assert_close(results(layer.double(), inputs), exact)
    for part in (0, 1):
        for truth, their, our in zip(
            exact[part], *(single[part] for single in singles), strict=True
        ):
            theirs_error = (their - truth).abs().max().item()
            rounding = torch.finfo(torch.float32).eps * truth.abs().max().item()
            assert (our - truth).abs().max().item() < 3 * theirs_error + rounding


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences(theirs, ours, bidirectional, enforce_sorted):
    expected, layer = twins(theirs, ours, 3, 5, num_layers=2, bidirectional=bidirectional)
    lengths = [6, 5, 5, 2, 1] if enforce_sorted else [2, 6, 1, 5, 5]
    values = torch.randn(6, 5, 3)
    packed = pack_padded_sequence(values, lengths, enforce_sorted=enforce_sorted)
    packed = packed._replace(data=packed.data.requires_grad_())
    state = torch.randn(4 if bidirectional else 2, 5, 5, requires_grad=True)
    states = (state, state.detach().clone().requires_grad_()) if ours is gt.LSTM else state
    for inputs in [(packed,), (packed, states)]:
        assert_same(expected, layer, inputs)
    output, _ = layer(packed)
    assert torch.equal(output.batch_sizes, packed.batch_sizes)
    assert (output.unsorted_indices is None) == (packed.unsorted_indices is None)


def test_one_recording_serves_many_lengths():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 4, 6, bidirectional=True)
    for steps in [1, 40, 33, 2, 37, 35, 40]:
        assert_same(expected, layer, (torch.randn(steps, 3, 4, requires_grad=True),))


@pytest.mark.parametrize("ours", [pair[1] for pair in PAIRS], ids=NAMES)
def test_same_seed_same_parameters_and_repr(ours):
    theirs = {own: other for other, own in PAIRS}[ours]
    for options in [
        {},
        {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
        {"num_layers": 3, "dropout": 0.25},
        *([{"proj_size": 2, "num_layers": 2}] if ours is gt.LSTM else []),
    ]:
        torch.manual_seed(4)
        expected = theirs(3, 5, **options)
        torch.manual_seed(4)
        layer = ours(3, 5, **options)
        assert repr(layer) == repr(expected)
        assert list(layer.state_dict()) == list(expected.state_dict())
        torch.testing.assert_close(layer.state_dict(), expected.state_dict(), rtol=0, atol=0)
        shapes = [[weight.shape for weight in weights] for weights in expected.all_weights]
        assert [[weight.shape for weight in weights] for weights in layer.all_weights] == shapes
        expected.load_state_dict(layer.state_dict())
        layer.flatten_parameters()


@pytest.mark.parametrize("ours", [pair[1] for pair in PAIRS], ids=NAMES)
def test_copies_and_files(ours, tmp_path):
    layer = ours(3, 4, num_layers=2, bidirectional=True).eval()
    values = torch.randn(5, 2, 3)
    expected = flat(layer(values))
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    others = [
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        torch.load(buffer, weights_only=False),
    ]
    for other in others:
        assert repr(other) == repr(layer)
        assert not other.training
        torch.testing.assert_close(flat(other(values)), expected, rtol=0, atol=0)
        assert all(
            ours is not theirs
            for ours, theirs in zip(other.parameters(), layer.parameters(), strict=True)
        )


def test_empty_batch():
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4)
    values = torch.zeros(5, 0, 3, requires_grad=True)
    assert [part.shape for part in flat(layer(values))] == [
        part.shape for part in flat(expected(values))
    ]
    layer(values)[0].sum().backward()
    assert values.grad.shape == values.shape
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in layer.parameters())


def test_a_second_backward_pass():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4, num_layers=2)
    values = torch.randn(5, 2, 3)
    gradients = []
    for own in (expected, layer):
        output = own(values)[0].square().sum()
        output.backward(retain_graph=True)
        first = [parameter.grad.clone() for parameter in own.parameters()]
        own.zero_grad()
        output.backward()
        second = [parameter.grad.clone() for parameter in own.parameters()]
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        gradients.append(first)
    torch.testing.assert_close(*gradients)


def test_several_forward_passes_before_a_backward_pass():
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 3)
    values = torch.randn(4, 2, 3)
    gradients = []
    for own in (expected, layer):
        own.zero_grad()
        state, total = None, 0.0
        # The same layer eleven times in one graph, one step at a time and whole.
        for step in range(10):
            output, state = own(values[step % 4 : step % 4 + 1], state)
            total = total + output.sum()
        (total + own(own(values)[0])[0].sum()).backward()
        gradients.append([parameter.grad.clone() for parameter in own.parameters()])
    torch.testing.assert_close(*gradients)


def test_backward_passes_in_another_order():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4)
    inputs = [torch.randn(5, 2, 3) for _ in range(3)]
    for own in (expected, layer):
        own.zero_grad()
        losses = [own(values)[0].square().sum() * (n + 1) for n, values in enumerate(inputs)]
        for loss in (losses[1], losses[2], losses[0]):
            loss.backward()
    torch.testing.assert_close(
        [parameter.grad for parameter in layer.parameters()],
        [parameter.grad for parameter in expected.parameters()],
    )


def test_changed_parameters_are_noticed():
    layer = gt.LSTM(3, 4)
    output = layer(torch.randn(5, 2, 3))[0].sum()
    with torch.no_grad():
        layer.weight_hh_l0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward()


def test_second_derivative():
    layer = gt.LSTM(3, 4)
    values = torch.randn(5, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(values)[0].sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_frozen_parts_have_no_gradients():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4, num_layers=2)
    for own in (expected, layer):
        own.weight_hh_l0.requires_grad_(False)
        own.bias_ih_l1.requires_grad_(False)
        own(torch.ones(5, 2, 3))[1][1].sum().backward()
    for ours, theirs in zip(layer.parameters(), expected.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)
    layer.requires_grad_(False)
    assert not layer(torch.ones(5, 2, 3))[0].requires_grad


def test_dropout():
    torch.manual_seed(0)
    layer = gt.LSTM(8, 400, num_layers=2, dropout=0.3)
    values = torch.randn(20, 4, 8)
    evaluated = layer.eval()(values)[0]
    torch.testing.assert_close(layer(values)[0], evaluated, rtol=0, atol=0)
    layer.train()
    torch.manual_seed(1)
    first = layer(values)[0]
    second = layer(values)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    torch.testing.assert_close(layer(values)[0], first, rtol=0, atol=0)
    with torch.no_grad():
        torch.manual_seed(1)
        torch.testing.assert_close(layer(values)[0], first, rtol=0, atol=0)


@pytest.mark.parametrize("dropout", [0.3, 0.999])
def test_dropout_keeps_the_mean(dropout):
    """The second layer sums what the first emits: dropped elements are gone, others scaled."""
    torch.manual_seed(0)
    layer = gt.RNN(1, 1000, num_layers=2, nonlinearity="relu", dropout=dropout, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l1.fill_(1e-3)
        layer.weight_hh_l1.zero_()
    sums = layer(torch.ones(1, 200, 1))[0][0, :, 0]
    deviation = (dropout / (1 - dropout) / 1000) ** 0.5
    assert abs(sums.mean().item() - 1.0) < 5 * deviation / 200**0.5
    assert 0.8 < sums.std().item() / deviation < 1.2


def test_dropout_of_everything():
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4, num_layers=2, dropout=1.0)
    assert_same(expected, layer, (torch.randn(5, 2, 3, requires_grad=True),))


def test_strides():
    """Inputs, states and parameters that are not dense in memory."""
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4)
    dense = torch.randn(5, 2, 3)
    state = torch.randn(1, 2, 4)
    spread = torch.zeros(5, 4, 6)
    spread[:, ::2, ::2] = dense
    expanded = torch.randn(1, 2, 3).expand(5, 2, 3)
    imaginary = torch.complex(dense, -dense).conj().imag
    assert imaginary.is_neg()
    backwards = torch.from_numpy(dense.numpy()[::-1].copy()).flip(0)
    for values in (spread[:, ::2, ::2], expanded, imaginary, backwards, dense.half().float()):
        states = (state.transpose(0, 1).contiguous().transpose(0, 1), state.mT.contiguous().mT)
        torch.testing.assert_close(flat(layer(values, states)), flat(expected(values, states)))
    with torch.no_grad():
        layer.weight_ih_l0.set_(layer.weight_ih_l0.t().contiguous().t())
    assert not layer.weight_ih_l0.is_contiguous()
    torch.testing.assert_close(flat(layer(dense)), flat(expected(dense)))


def test_odd_addresses():
    """Tensors over a file's bytes may begin at any byte."""
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4)
    values = torch.randn(5, 2, 3)
    memory = bytearray(b"x" + values.numpy().tobytes())
    odd = torch.frombuffer(memory, dtype=torch.float32, offset=1).view(5, 2, 3)
    assert odd.data_ptr() % 4 != 0
    torch.testing.assert_close(flat(layer(odd)), flat(expected(values)))


def test_not_a_number_stays_where_it_is():
    expected, layer = twins(torch.nn.GRU, gt.GRU, 3, 4)
    values = torch.randn(5, 3, 3)
    values[2, 1, 0] = float("nan")
    ours, theirs = layer(values)[0], expected(values)[0]
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert ours.isnan().any()


def test_weight_norm_and_functional_call():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4)
    values = torch.randn(5, 2, 3)
    doubled = {name: 2 * value for name, value in layer.named_parameters()}
    torch.testing.assert_close(
        torch.func.functional_call(layer, doubled, (values,))[0],
        torch.func.functional_call(expected, doubled, (values,))[0],
    )
    torch.nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    layer(values)[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original1.grad is not None


def test_autocast_computes_float32():
    layer = gt.LSTM(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = torch.nn.Linear(2, 3)(torch.randn(5, 2, 2))
        assert values.dtype == torch.bfloat16
        output = layer(values)[0]
    assert output.dtype == torch.float32
    output.sum().backward()
    assert layer.weight_ih_l0.grad.dtype == torch.float32


def test_inference_mode():
    expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4)
    with torch.inference_mode():
        values = torch.randn(5, 2, 3)
        torch.testing.assert_close(flat(layer(values)), flat(expected(values)))


@pytest.mark.parametrize(
    ("ours", "directions", "states"),
    [(gt.PeepholeLSTM, 2, 2), (gt.ResetBeforeGRU, 1, 1), (gt.MinGRU, 2, 1), (gt.MinLSTM, 1, 1)],
)
def test_cells_that_pytorch_lacks(ours, directions, states):
    layer = ours(
        2, 3, num_layers=2, bidirectional=directions == 2, batch_first=True, dtype=torch.float64
    )
    values = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    initial = [
        torch.randn(2 * directions, 2, 3, dtype=torch.float64, requires_grad=True)
        for _ in range(states)
    ]

    def call(values, *others):
        given = others[:states]
        names = [name for name, _ in layer.named_parameters()]
        changed = dict(zip(names, others[states:], strict=True))
        hx = given if states == 2 else given[0]
        return tuple(flat(torch.func.functional_call(layer, changed, (values, hx))))

    assert torch.autograd.gradcheck(call, (values, *initial, *layer.parameters()))
    again = ours(2, 3, num_layers=2, bidirectional=directions == 2)
    again.load_state_dict(layer.state_dict())


def test_peepholes_by_hand():
    """One step of the formulas of Gers & Schmidhuber 2000."""
    layer = gt.PeepholeLSTM(2, 3, dtype=torch.float64)
    values = torch.randn(1, 1, 2, dtype=torch.float64)
    h, c = torch.randn(2, 1, 1, 3, dtype=torch.float64)
    gates = values[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0
    gates = gates + h[0] @ layer.weight_hh_l0.T + layer.bias_hh_l0
    i, f, g, o = gates.chunk(4, dim=1)
    w_i, w_f, w_o = layer.weight_peephole_l0.chunk(3)
    after = torch.sigmoid(f + w_f * c[0]) * c[0] + torch.sigmoid(i + w_i * c[0]) * torch.tanh(g)
    expected = torch.sigmoid(o + w_o * after) * torch.tanh(after)
    output, (_, last) = layer(values, (h, c))
    torch.testing.assert_close(output[0], expected)
    torch.testing.assert_close(last[0], after)


class TestDevices:
    @pytest.fixture(autouse=True)
    def _restored(self):
        yield
        gatescan.set_device("auto")

    def test_a_gpu_computes_the_same(self):
        label = gatescan.set_device("gpu")
        assert label == gatescan.get_device() != "cpu"
        for theirs, ours in PAIRS:
            expected, layer = twins(theirs, ours, 5, 7, num_layers=2, bidirectional=True)
            ours_results = results(layer, (torch.ones(6, 3, 5, requires_grad=True),))
            theirs_results = results(expected, (torch.ones(6, 3, 5, requires_grad=True),))
            torch.testing.assert_close(ours_results, theirs_results, rtol=1e-5, atol=1e-5)

    def test_float64_is_computed_by_the_cpu_alone(self):
        layer = gt.GRU(3, 4, dtype=torch.float64)
        values = torch.randn(5, 2, 3, dtype=torch.float64)
        gatescan.set_device("auto")
        expected = layer(values)[0]
        gatescan.set_device("gpu")
        with pytest.raises(gatescan.Error, match="float64"):
            layer(values)
        gatescan.set_device("cpu")
        torch.testing.assert_close(layer(values)[0], expected, rtol=0, atol=0)

    def test_a_backward_pass_after_a_change_of_device(self):
        expected, layer = twins(torch.nn.LSTM, gt.LSTM, 3, 4)
        values = torch.randn(5, 2, 3)
        output = layer(values)[0].sum()
        gatescan.set_device("cpu")
        output.backward()
        expected(values)[0].sum().backward()
        torch.testing.assert_close(layer.weight_ih_l0.grad, expected.weight_ih_l0.grad)

    def test_unknown_devices_are_refused(self):
        with pytest.raises(gatescan.Error, match="no adapter has the index or name `nonesuch`"):
            gatescan.set_device("nonesuch")
        assert gatescan.get_device()


def test_pack_sequence_with_states_keeps_the_order():
    layer = gt.GRU(2, 3)
    sequences = [torch.randn(n, 2) for n in (2, 5, 3)]
    state = torch.randn(1, 3, 3)
    _, last = layer(pack_sequence(sequences, enforce_sorted=False), state)
    for n, sequence in enumerate(sequences):
        _, alone = layer(sequence, state[:, n])
        torch.testing.assert_close(last[:, n], alone)

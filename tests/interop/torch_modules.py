"""Imports the state dicts of many PyTorch modules: each gives the module's outputs, or a refusal or a
printed assumption that names the reason.

    python tests/interop/torch_modules.py [PROGRAM] [SEEDS]
"""

import collections
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import safetensors.torch
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
BOUND = 1e-5
STEPS = 7
COUNT = 4

Rnn = collections.namedtuple("Rnn", "kind inputs hidden layers both proj bias relu")


def random_rnn(random, **given):
    """A random configuration; `given` sets fields."""
    kind = random.choice(["RNN", "LSTM", "GRU"])
    hidden = int(random.integers(3, 9))
    own = Rnn(
        kind=str(kind),
        inputs=int(random.integers(2, 6)),
        hidden=hidden,
        layers=int(random.integers(1, 4)),
        both=bool(random.integers(2)),
        proj=0,
        bias=bool(random.integers(4)),
        relu=False,
    )
    return own._replace(**given)


def build(rnn):
    options = {"nonlinearity": "relu"} if rnn.relu else {}
    if rnn.proj:
        options["proj_size"] = rnn.proj
    return getattr(nn, rnn.kind)(
        rnn.inputs,
        rnn.hidden,
        num_layers=rnn.layers,
        bidirectional=rnn.both,
        bias=rnn.bias,
        batch_first=True,
        **options,
    )


def emitted(module):
    return (2 if module.bidirectional else 1) * (module.proj_size or module.hidden_size)


def last_state(module, state):
    h = state[0] if isinstance(state, tuple) else state
    return h[-(2 if module.bidirectional else 1) :].transpose(0, 1).flatten(1)


class Net(nn.Module):
    """Modules under the given names, connected by `forward`."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            if isinstance(module, torch.Tensor):
                module = nn.Parameter(module)
            setattr(self, name, module)
        self.connect = forward

    def forward(self, x):
        return self.connect(self, x)


class Case:
    """A module, the options of its import, and the expected outcome: equal, refused or said."""

    def __init__(self, name, net, outcome="equal", why="", options=(), x=None, edit=None, **more):
        self.name, self.net, self.outcome, self.why = name, net, outcome, why
        self.options, self.x, self.edit = list(options), x, edit
        self.every = more.get("every", False)
        self.lengths = more.get("lengths")
        self.retry = more.get("retry")


def values(random, features):
    return torch.tensor(random.standard_normal((COUNT, STEPS, features)), dtype=torch.float32)


def head_of_last(net, x):
    y, state = net.rnn(x)
    return net.head(last_state(net.rnn, state))


def head_of_out(net, x):
    return net.head(net.rnn(x)[0][:, -1])


def head_of_every(net, x):
    return net.head(net.rnn(x)[0])


def single_cases(random):
    """One recurrent module and heads over it."""
    rnn = random_rnn(random)
    x = values(random, rnn.inputs)
    module = build(rnn)
    linear = nn.Linear(emitted(module), 3)
    yield Case("h_n", Net(head_of_last, rnn=module, head=linear), x=x)
    yield Case("every step", Net(head_of_every, rnn=module, head=linear), x=x, every=True)
    one = build(random_rnn(random, inputs=rnn.inputs, both=False))
    yield Case("out[:, -1]", Net(head_of_out, rnn=one, head=nn.Linear(emitted(one), 2)), x=x)
    both = build(random_rnn(random, inputs=rnn.inputs, both=True))
    head = nn.Linear(emitted(both), 2)
    yield Case(
        "out[:, -1] of both directions",
        Net(head_of_out, rnn=both, head=head),
        "said",
        "the head reads the last state of both directions (h_n), not out[:, -1]",
        x=x,
    )
    relu = build(random_rnn(random, inputs=rnn.inputs, kind="RNN", relu=True))
    net = Net(head_of_last, rnn=relu, head=nn.Linear(emitted(relu), 2))
    yield Case("relu, told", net, x=x, options=["--cell", "rnn-relu"])
    yield Case("relu, not told", net, "said", "nn.RNN has tanh", x=x)
    proj = build(random_rnn(random, inputs=rnn.inputs, kind="LSTM", hidden=7, proj=4))
    yield Case("proj_size", Net(head_of_last, rnn=proj, head=nn.Linear(emitted(proj), 2)), x=x)
    bare = nn.Linear(emitted(module), 3, bias=False)
    yield Case("head without a bias", Net(head_of_last, rnn=module, head=bare), x=x)
    for name, pool in (("mean", torch.mean), ("max", torch.amax)):
        net = Net(lambda net, x, pool=pool: net.head(pool(net.rnn(x)[0], 1)), rnn=module, head=linear)
        why = "both directions (h_n)" if rnn.both else "not a mean or maximum over the steps"
        yield Case(f"{name} over steps", net, "said", why, x=x)
    net = Net(lambda net, x: torch.softmax(head_of_last(net, x), -1), rnn=module, head=linear)
    yield Case("softmax after the head", net, "said", "without an activation after it", x=x)
    net = Net(
        lambda net, x: net.head(torch.relu(last_state(net.rnn, net.rnn(x)[1]))),
        rnn=module,
        head=linear,
    )
    yield Case("activation before the head", net, "said", "no activation", x=x)
    net = Net(head_of_last, rnn=nn.ModuleDict({"deep": module})["deep"], head=linear)
    yield Case("in a module that wraps it", Net(lambda net, x: net.model(x), model=net), x=x)
    lengths = numpy.array([STEPS, 3, 1, 5])

    def packed(net, x):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        return net.head(last_state(net.rnn, net.rnn(packed)[1]))

    yield Case("packed", Net(packed, rnn=module, head=linear), x=x, lengths=lengths)


def stacked_cases(random):
    """Several recurrent modules."""
    size = int(random.integers(3, 7))
    kinds = random.choice(["RNN", "LSTM", "GRU"], 3)
    equal = {"inputs": size, "hidden": size, "both": False, "layers": 1}
    parts = [build(random_rnn(random, kind=str(kind), **equal)) for kind in kinds]
    x = values(random, size)

    def chain(*names):
        def forward(net, x):
            for name in names:
                x = getattr(net, name)(x)[0]
            return net.head(x[:, -1])

        return forward

    head = nn.Linear(size, 2)
    one, two, three = parts
    for names in (["encoder", "decoder"], ["lstm", "gru"], ["rnn", "second"]):
        net = Net(chain(*names), head=head, **dict(zip(names, parts)))
        yield Case(
            f"{names[0]}, then {names[1]}",
            net,
            "refused",
            "--order is not set",
            x=x,
            retry=["--order", ",".join(names)],
        )
    net = Net(chain("rnn1", "rnn2", "rnn10"), head=head, rnn1=one, rnn2=two, rnn10=three)
    yield Case("numbered names", net, x=x)

    def list_forward(net, x):
        for layer in net.layers:
            x = layer(x)[0]
        return net.head(x[:, -1])

    many = [build(random_rnn(random, **equal)) for _ in range(11)]
    yield Case("ModuleList", Net(list_forward, layers=nn.ModuleList(many), head=head), x=x)
    sized = [
        build(random_rnn(random, inputs=size)),
    ]
    for _ in range(2):
        sized.append(build(random_rnn(random, inputs=emitted(sized[-1]), hidden=9 + len(sized))))
    last = nn.Linear(emitted(sized[-1]), 2)

    def by_size(net, x):
        for name in ("zebra", "apple", "mango"):
            module = getattr(net, name)
            x, state = module(x)
        return net.head(last_state(module, state))

    net = Net(by_size, zebra=sized[0], apple=sized[1], mango=sized[2], head=last)
    yield Case("sizes that fit one order", net, x=x)
    side = Net(
        lambda net, x: net.head(net.a(x)[0][:, -1] + net.b(x)[0][:, -1]), a=one, b=two, head=head
    )
    yield Case("side by side, added", side, "refused", "side by side", x=x)
    wide = nn.Linear(2 * size, 2)
    side = Net(
        lambda net, x: net.head(torch.cat([net.a(x)[0][:, -1], net.b(x)[0][:, -1]], -1)),
        a=one,
        b=two,
        head=wide,
    )
    yield Case("side by side, concatenated", side, "refused", f"reads {2 * size} values", x=x)

    def residual(net, x):
        y = x + net.rnn1(x)[0]
        return net.head(net.rnn2(y)[0][:, -1])

    net = Net(residual, rnn1=one, rnn2=two, head=head)
    yield Case("residual sum", net, "said", "no activation, normalisation, residual sum", x=x)

    def state_passed(net, x):
        _, state = net.encoder1(x)
        return net.head(net.encoder2(x, state)[0][:, -1])

    lstms = [build(random_rnn(random, kind="LSTM", **equal)) for _ in range(2)]
    net = Net(state_passed, encoder1=lstms[0], encoder2=lstms[1], head=head)
    yield Case("states passed on", net, "said", "starts from zero states", x=x)


def token_cases(random):
    """Embeddings."""
    tokens = torch.tensor(random.integers(0, 11, (COUNT, STEPS)))
    rnn = build(random_rnn(random, inputs=5))
    embedding = nn.Embedding(11, 5)

    def embedded(net, x):
        return head_of_last(net, net.embedding(x))

    head = nn.Linear(emitted(rnn), 3)
    yield Case("embedding", Net(embedded, embedding=embedding, rnn=rnn, head=head), x=tokens)
    tied = build(random_rnn(random, inputs=5, hidden=5, both=False))
    out = nn.Linear(5, 11)
    out.weight = embedding.weight

    def every(net, x):
        return head_of_every(net, net.embedding(x))

    net = Net(every, embedding=embedding, rnn=tied, head=out)
    yield Case("tied embedding", net, x=tokens, every=True)
    named = Net(lambda net, x: head_of_last(net, net.table(x)), table=embedding, rnn=tied,
                head=nn.Linear(5, 2))
    yield Case("embedding of the head's size", named, "refused", "are linear layers", x=tokens)


def refused_cases(random):
    """Modules that gatescan does not have."""
    rnn = random_rnn(random, both=False)
    module = build(rnn)
    x, size = values(random, rnn.inputs), emitted(module)
    head = nn.Linear(size, 2)

    def case(name, why, forward, **modules):
        return Case(name, Net(forward, **modules), "refused", why, x=x)

    yield case(
        "two linear layers",
        "are linear layers",
        lambda net, x: net.head(torch.relu(net.hidden(net.rnn(x)[0][:, -1]))),
        rnn=module,
        hidden=nn.Linear(size, size),
        head=head,
    )
    yield case(
        "linear layer below",
        "linear",
        lambda net, x: net.head(net.rnn(net.project(x))[0][:, -1]),
        project=nn.Linear(rnn.inputs, rnn.inputs),
        rnn=module,
        head=head,
    )
    yield case(
        "LayerNorm",
        "tensor norm.weight belongs to a normalisation",
        lambda net, x: net.head(net.norm(net.rnn(x)[0][:, -1])),
        rnn=module,
        norm=nn.LayerNorm(size),
        head=head,
    )
    yield case(
        "BatchNorm1d",
        "BatchNorm",
        lambda net, x: net.head(net.norm(net.rnn(x)[0][:, -1])),
        rnn=module,
        norm=nn.BatchNorm1d(size),
        head=head,
    )
    yield case(
        "Conv1d",
        "a convolution",
        lambda net, x: net.head(net.rnn(net.conv(x.transpose(1, 2)).transpose(1, 2))[0][:, -1]),
        conv=nn.Conv1d(rnn.inputs, rnn.inputs, 3),
        rnn=module,
        head=head,
    )
    yield case(
        "MultiheadAttention",
        "MultiheadAttention",
        lambda net, x: net.head(net.attention(*[net.rnn(x)[0]] * 3)[0][:, -1]),
        rnn=module,
        attention=nn.MultiheadAttention(size, 1, batch_first=True),
        head=head,
    )
    yield case(
        "attention over steps",
        "linear layer",
        lambda net, x: net.head(
            (torch.softmax(net.score(net.rnn(x)[0]), 1) * net.rnn(x)[0]).sum(1)
        ),
        rnn=module,
        score=nn.Linear(size, 1),
        head=head,
    )
    yield case(
        "positional weights",
        "tensor position ",
        lambda net, x: head_of_out(net, x + net.position),
        position=torch.randn(STEPS, rnn.inputs),
        rnn=module,
        head=head,
    )

    def initial(net, x):
        return net.head(net.rnn(x, net.h0.expand(-1, len(x), -1).contiguous())[0][:, -1])

    gru = build(random_rnn(random, kind="GRU", inputs=rnn.inputs, both=False, layers=1))
    yield case(
        "learnt initial state",
        "tensor h0 ",
        initial,
        h0=torch.randn(1, 1, gru.hidden_size),
        rnn=gru,
        head=nn.Linear(gru.hidden_size, 2),
    )

    def cells(net, x):
        h = torch.zeros(len(x), net.cell.hidden_size)
        for t in range(x.shape[1]):
            h = net.cell(x[:, t], h)
        return net.head(h)

    yield case("GRUCell", "nn.GRUCell", cells, cell=nn.GRUCell(rnn.inputs, 4), head=nn.Linear(4, 2))
    normed = build(random_rnn(random, inputs=rnn.inputs, both=False))
    torch.nn.utils.parametrizations.weight_norm(normed, "weight_hh_l0")
    yield case(
        "weight_norm",
        "remove_parametrizations",
        head_of_out,
        rnn=normed,
        head=nn.Linear(emitted(normed), 2),
    )
    yield case(
        "heads side by side",
        "are linear layers",
        lambda net, x: torch.cat([net.a(net.rnn(x)[0][:, -1]), net.b(net.rnn(x)[0][:, -1])], -1),
        rnn=module,
        a=nn.Linear(size, 2),
        b=nn.Linear(size, 3),
    )
    yield case(
        "head over all steps",
        f"reads {STEPS * size} values",
        lambda net, x: net.head(net.rnn(x)[0].flatten(1)),
        rnn=module,
        head=nn.Linear(STEPS * size, 2),
    )
    net = Net(head_of_last, rnn=module, head=head)
    yield Case("float64", net, "refused", "is of type F64", x=x, edit=lambda d: {
        name: tensor.double() for name, tensor in d.items()
    })
    yield Case("not finite", net, "refused", "head.bias is NaN at [1]", x=x, edit=lambda d: {
        **d, "head.bias": torch.tensor([0.0, float("nan")])
    })


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def outputs(case, model, place):
    """The outputs of the imported model."""
    x = case.x.numpy()
    if case.lengths is None:
        data = place / "inputs.npy"
        numpy.save(data, x)
    else:
        data = place / "data"
        data.mkdir(exist_ok=True)
        numpy.save(data / "inputs.npy", x)
        numpy.save(data / "lengths.npy", case.lengths)
    more = ["--every-step"] if case.every else []
    predicted = run("predict", model, data, "--device", "cpu", "-o", place / "p.npy", *more)
    if predicted.returncode != 0:
        return None, predicted.stderr
    return numpy.load(place / "p.npy"), ""


def attempt(case, place, options):
    """Imports a case and compares; returns the outcome and what was printed."""
    state = {name: tensor.contiguous() for name, tensor in case.net.state_dict().items()}
    if case.edit:
        state = case.edit(state)
    file, model = place / "m.safetensors", place / "model"
    if len({tensor.data_ptr() for tensor in state.values()}) < len(state):
        safetensors.torch.save_model(case.net, str(file))
    else:
        safetensors.torch.save_file(state, file)
    given = ["--loss", "mean-squared-error", *case.options, *options]
    if case.every:
        given += ["--reads", "every"]
    imported = run("import", file, "-o", model, *given)
    if imported.returncode != 0:
        if imported.returncode not in (1, 2) or not imported.stderr:
            return "failed", imported.stderr
        return "refused", imported.stderr
    with torch.no_grad():
        theirs = case.net.eval()(case.x).numpy()
    ours, problem = outputs(case, model, place)
    if ours is None:
        return "failed", problem
    if ours.shape == theirs.shape and numpy.abs(ours - theirs).max() <= BOUND:
        return "equal", imported.stderr
    return "different", imported.stderr


def judge(case):
    """Returns equal, refused, said or silent, and a complaint if it is not the expected one."""
    with tempfile.TemporaryDirectory() as place:
        outcome, text = attempt(case, Path(place), [])
    if outcome == "different":
        outcome = "said" if case.outcome == "said" and case.why in text else "silent"
    complaint = ""
    if outcome != case.outcome or case.why not in text:
        complaint = f"{case.name}: {outcome}, not {case.outcome} ({case.why}):\n{text}"
    elif case.retry:
        with tempfile.TemporaryDirectory() as place:
            again, text = attempt(case, Path(place), case.retry)
        if again != "equal":
            complaint = f"{case.name} with {case.retry}: {again}:\n{text}"
    return outcome, complaint


def main():
    global PROGRAM
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    PROGRAM = sys.argv[1] if len(sys.argv) > 1 else str(target / "debug" / "gatescan")
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    counts, complaints = {}, []
    for seed in range(seeds):
        torch.manual_seed(seed)
        random = numpy.random.default_rng(seed)
        for cases in (single_cases, stacked_cases, token_cases, refused_cases):
            for case in cases(random):
                outcome, complaint = judge(case)
                counts.setdefault(case.name, collections.Counter())[outcome] += 1
                if complaint:
                    complaints.append(f"seed {seed}, {complaint}")
    kinds = ["equal", "refused", "said", "silent", "failed"]
    print(f"{'module':34}" + "".join(f"{kind:>9}" for kind in kinds))
    for name, count in counts.items():
        print(f"{name:34}" + "".join(f"{count[kind] or '':>9}" for kind in kinds))
    all_of_them = sum(counts.values(), collections.Counter())
    print(f"{'all':34}" + "".join(f"{all_of_them[kind]:>9}" for kind in kinds))
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()

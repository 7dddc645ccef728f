"""Writes networks.json: outputs, losses and gradients of small networks in PyTorch, in float64.

Each case is an LSTM or GRU with packed sequences and a head that reads a reduction of the outputs
over the valid steps, several heads with a loss each, one of which may have lists of labels (CTC)
and read every step, or embedded categories. tests/networks.rs reads the file:
    python tests/interop/networks.py
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

STEPS, FEATURES, HIDDEN, CLASSES = 6, 3, 4, 5
LENGTHS = [6, 2, 1, 5]
LISTS = [[1, 1, 2], [3], [], [2, 4, 2]]


def single(values):
    """Rounds to float32, so that every executor reads the same values."""
    return values.detach().to(torch.float32).to(torch.float64)


def padding():
    return (torch.arange(STEPS) >= torch.tensor(LENGTHS)[:, None])[..., None]


def last(steps, state, _):
    return state.transpose(0, 1).flatten(1)


def mean(steps, state, _):
    return steps.masked_fill(padding(), 0).sum(1) / torch.tensor(LENGTHS)[:, None]


def maximum(steps, state, _):
    return steps.masked_fill(padding(), -torch.inf).max(1).values


def attention(steps, state, query):
    scores = (steps @ query)[..., None].masked_fill(padding(), -torch.inf)
    return (steps * scores.softmax(1)).sum(1)


def recurrent(kind, both, random, features=FEATURES):
    module = getattr(nn, kind)(features, HIDDEN, batch_first=True, bidirectional=both).double()
    for parameter in module.parameters():
        parameter.data = single(torch.randn(parameter.shape, generator=random) * 0.5)
    return module


def run(module, inputs):
    lengths = torch.tensor(LENGTHS)
    packed = nn.utils.rnn.pack_padded_sequence(
        inputs, lengths, batch_first=True, enforce_sorted=False
    )
    steps, state = module(packed)
    steps, _ = nn.utils.rnn.pad_packed_sequence(steps, batch_first=True, total_length=STEPS)
    state = state[0] if isinstance(state, tuple) else state
    return steps, state


def layer(kind, both):
    return {
        "cell": {"LSTM": "lstm", "GRU": "gru"}[kind],
        "hidden_size": HIDDEN,
        "bias": "double",
        "bidirectional": both,
    }


def parameter(name, tensor):
    return {
        "name": name,
        "shape": list(tensor.shape),
        "values": tensor.detach().flatten().tolist(),
        "gradient": tensor.grad.flatten().tolist(),
    }


def case(kind, both, reads, read, seed):
    random = torch.Generator().manual_seed(seed)
    module = recurrent(kind, both, random)
    emitted = HIDDEN * (2 if both else 1)

    def drawn(*shape):
        return single(torch.randn(shape, generator=random)).requires_grad_()

    weight, bias, query = drawn(CLASSES, emitted), drawn(CLASSES), drawn(emitted)
    inputs = single(torch.randn(len(LENGTHS), STEPS, FEATURES, generator=random))
    labels = torch.randint(0, CLASSES, (len(LENGTHS),), generator=random)
    steps, state = run(module, inputs)
    outputs = functional.linear(read(steps, state, query), weight, bias)
    loss = functional.cross_entropy(outputs, labels)
    loss.backward()
    named = [(f"rnn.{name}", tensor) for name, tensor in module.named_parameters()]
    named += [("head.weight", weight), ("head.bias", bias)]
    named += [("head.query", query)] if reads == "attention" else []
    return {
        "name": f"{kind.lower()} {'both ' if both else ''}{reads}",
        "network": {
            "input_size": FEATURES,
            "layer": [layer(kind, both)],
            "head": {"size": CLASSES, "reads": reads, "loss": "cross-entropy"},
        },
        "parameters": [parameter(*each) for each in named],
        "inputs": inputs.tolist(),
        "lengths": LENGTHS,
        "labels": labels.tolist(),
        "outputs": outputs.tolist(),
        "expected": loss.item(),
    }


def of_lists(steps, weight, bias, known):
    """The outputs of a head of lists of labels, and its mean loss over the known lists."""
    outputs = functional.linear(steps, weight, bias)
    lists = torch.tensor([label for labels in LISTS for label in labels])
    counts = torch.tensor([len(labels) for labels in LISTS])
    losses = functional.ctc_loss(
        outputs.log_softmax(-1).transpose(0, 1),
        lists,
        torch.tensor(LENGTHS),
        counts,
        reduction="none",
    )
    # As in the mean of PyTorch, a list counts by its number of labels.
    return outputs, (losses / counts.clamp(min=1))[known].mean()


def several(kind, both, reads, read, seed, has_lists=False):
    """A case of heads, whose loss is the sum of theirs, each times its weight."""
    random = torch.Generator().manual_seed(seed)
    module = recurrent(kind, both, random)
    emitted = HIDDEN * (2 if both else 1)
    per_step = reads == "every"
    shape = (len(LENGTHS), STEPS) if per_step else (len(LENGTHS),)
    valid = ~padding()[..., 0] if per_step else torch.ones(shape, dtype=torch.bool)

    def drawn(*extents):
        return single(torch.randn(extents, generator=random))

    def known():
        return valid & (torch.rand(shape, generator=random) > 0.2)

    inputs = drawn(len(LENGTHS), STEPS, FEATURES)
    steps, state = run(module, inputs)
    features = steps if per_step else read(steps, state, None)
    heads, losses, weights = [], [], []
    kinds = [
        ("state", CLASSES, "cross-entropy", 0.5),
        ("load", 2, "mean-squared-error", 2.0),
        ("spread", 2, "gaussian-nll", 1.25),
    ]
    if has_lists:
        kinds.insert(1, ("words", CLASSES, "ctc", 0.75))
    for name, size, loss, factor in kinds:
        weight, bias = drawn(size, emitted).requires_grad_(), drawn(size).requires_grad_()
        outputs = functional.linear(features, weight, bias)
        has_target = known()
        if loss == "ctc":
            has_target = torch.ones(len(LENGTHS), dtype=torch.bool)
            outputs, rows = of_lists(steps, weight, bias, has_target)
            longest = max(len(labels) for labels in LISTS)
            padded = [labels + [-1] * (longest - len(labels)) for labels in LISTS]
            targets = torch.tensor(padded)
        elif loss == "cross-entropy":
            targets = torch.randint(0, size, shape, generator=random)
            rows = functional.cross_entropy(outputs[has_target], targets[has_target])
        elif loss == "mean-squared-error":
            targets = drawn(*shape, size)
            rows = functional.mse_loss(outputs[has_target], targets[has_target])
        else:
            targets = drawn(*shape, 1)
            mean, log_variance = outputs[has_target].unbind(-1)
            wanted = targets[has_target][..., 0]
            rows = functional.gaussian_nll_loss(mean, wanted, log_variance.exp())
        losses.append(factor * rows)
        weights.append((weight, bias))
        heads.append({
            "name": name,
            "size": size,
            "loss": loss,
            "weight": factor,
            "known": has_target.tolist(),
            "targets": targets.tolist(),
            "outputs": outputs.tolist(),
            "expected": rows.item(),
        })
    sum(losses).backward()
    joined = [torch.cat([pair[n] for pair in weights]) for n in range(2)]
    for n, tensor in enumerate(joined):
        tensor.grad = torch.cat([pair[n].grad for pair in weights])
    named = [(f"rnn.{name}", tensor) for name, tensor in module.named_parameters()]
    named += [("head.weight", joined[0]), ("head.bias", joined[1])]
    return {
        "name": f"{kind.lower()} {'both ' if both else ''}{reads} of several heads"
        + (" with lists" if has_lists else ""),
        "network": {
            "input_size": FEATURES,
            "layer": [layer(kind, both)],
            "head": {"size": sum(kind[1] for kind in kinds), "reads": reads, "loss": "heads"},
            "heads": [
                {key: head[key] for key in ("name", "size", "loss", "weight")} for head in heads
            ],
        },
        "parameters": [parameter(*each) for each in named],
        "inputs": inputs.tolist(),
        "lengths": LENGTHS,
        "heads": heads,
        "expected": sum(losses).item(),
    }


def categories(kind, both, seed):
    """A case of two columns of categories between values, of nn.Embedding and nn.Linear.

    The inputs of the file are one-hot; a category that is not known has zeros, and no vector.
    """
    random = torch.Generator().manual_seed(seed)
    shape, sizes = (len(LENGTHS), STEPS), [(4, 2), (3, 3)]
    tables = [nn.Embedding(*size).double() for size in sizes]
    for table in tables:
        table.weight.data = single(torch.randn(table.weight.shape, generator=random))
    module = recurrent(kind, both, random, 3 + sum(width for _, width in sizes))
    values = single(torch.randn(*shape, 3, generator=random))
    codes = [torch.randint(0, count, shape, generator=random) for count, _ in sizes]
    known = [torch.rand(shape, generator=random) > 0.2 for _ in sizes]
    vectors = [
        table(code) * mask[..., None] for table, code, mask in zip(tables, codes, known)
    ]
    one_hot = [
        functional.one_hot(code, count) * mask[..., None]
        for code, mask, (count, _) in zip(codes, known, sizes)
    ]
    inputs = torch.cat([values[..., :2], *one_hot, values[..., 2:]], -1)
    weight = single(torch.randn(CLASSES, HIDDEN * (1 + both), generator=random)).requires_grad_()
    bias = single(torch.randn(CLASSES, generator=random)).requires_grad_()
    labels = torch.randint(0, CLASSES, (len(LENGTHS),), generator=random)
    steps, state = run(module, torch.cat([values[..., :2], *vectors, values[..., 2:]], -1))
    outputs = functional.linear(last(steps, state, None), weight, bias)
    loss = functional.cross_entropy(outputs, labels)
    loss.backward()
    named = [(f"embeddings.{n}.weight", table.weight) for n, table in enumerate(tables)]
    named += [(f"rnn.{name}", tensor) for name, tensor in module.named_parameters()]
    named += [("head.weight", weight), ("head.bias", bias)]
    return {
        "name": f"{kind.lower()} {'both ' if both else ''}of categories",
        "network": {
            "input_size": inputs.shape[-1],
            "layer": [layer(kind, both)],
            "head": {"size": CLASSES, "reads": "last", "loss": "cross-entropy"},
            "categories": [
                {"name": "store", "first": 2, "count": 4, "size": 2},
                {"name": "day", "first": 6, "count": 3, "size": 3},
            ],
        },
        "parameters": [parameter(*each) for each in named],
        "inputs": inputs.tolist(),
        "lengths": LENGTHS,
        "labels": labels.tolist(),
        "outputs": outputs.tolist(),
        "expected": loss.item(),
    }


def main():
    cases = []
    for reads, read in [
        ("last", last),
        ("mean", mean),
        ("max", maximum),
        ("attention", attention),
    ]:
        for kind, both in [("LSTM", True), ("GRU", False)]:
            cases.append(case(kind, both, reads, read, seed=len(cases)))
    for kind, both, reads, read in [
        ("LSTM", True, "last", last),
        ("GRU", False, "every", None),
        ("GRU", True, "every", None),
        ("LSTM", True, "max", maximum),
    ]:
        cases.append(several(kind, both, reads, read, seed=len(cases)))
    for kind, both, reads, read in [
        ("LSTM", True, "last", last),
        ("GRU", False, "mean", mean),
        ("GRU", True, "every", None),
    ]:
        cases.append(several(kind, both, reads, read, seed=len(cases), has_lists=True))
    for kind, both in [("LSTM", False), ("GRU", True)]:
        cases.append(categories(kind, both, seed=len(cases)))
    path = Path(__file__).with_name("networks.json")
    path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()

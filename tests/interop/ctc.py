"""Writes ctc.json: torch.nn.CTCLoss and its gradient with respect to logits, in float64.

Losses are those of reduction="none" divided by the number of labels, as reduction="mean" has them;
the mean over sequences by weights is gatescan's. What is infinite or NaN is null in the file.
tests/losses.rs reads it:
    python tests/interop/ctc.py
"""

import json
import math
from pathlib import Path

import torch
from torch.nn import functional

torch.manual_seed(11)


def single(values):
    """Rounds to float32, so that every executor reads the same values."""
    return values.to(torch.float32).to(torch.float64)


def finite(values):
    """Replaces what is not finite by null."""
    if isinstance(values, list):
        return [finite(value) for value in values]
    return values if math.isfinite(values) else None


def case(name, classes, lists, lengths, zero_infinity=True, weights=None, scale=2.0, logits=None):
    """A batch of lists of labels, for sequences of these lengths."""
    steps, batch = max(lengths), len(lists)
    if logits is None:
        logits = scale * torch.randn(steps, batch, classes, dtype=torch.float64)
    logits = single(logits).requires_grad_()
    longest = max(1, *map(len, lists)) if batch > 1 else max(1, len(lists[0]))
    padded = torch.tensor([labels + [0] * (longest - len(labels)) for labels in lists])
    counts = torch.tensor([len(labels) for labels in lists])
    losses = functional.ctc_loss(
        logits.log_softmax(2), padded, torch.tensor(lengths), counts,
        reduction="none", zero_infinity=zero_infinity,
    ) / counts.clamp(min=1)
    if weights is None:
        theirs = functional.ctc_loss(
            logits.log_softmax(2), padded, torch.tensor(lengths), counts,
            reduction="mean", zero_infinity=zero_infinity,
        )
        mean = losses.mean()
        assert not torch.isfinite(theirs) or abs(theirs - mean) < 1e-12
    else:
        given = torch.tensor(weights, dtype=torch.float64)
        mean = (losses * given).sum() / given.sum()
    (gradient,) = torch.autograd.grad(mean, logits)
    return dict(
        name=name,
        loss="ctc" if zero_infinity else {"ctc": {"zero_infinity": False}},
        steps=steps,
        logits=logits.reshape(steps * batch, classes).tolist(),
        lists=lists,
        lengths=lengths,
        weights=weights,
        losses=finite(losses.tolist()),
        gradient=finite(gradient.reshape(steps * batch, classes).tolist()),
    )


def certain(path, classes):
    """Logits of which one is 40 above the others."""
    logits = torch.zeros(len(path), 1, classes, dtype=torch.float64)
    for t, k in enumerate(path):
        logits[t, 0, k] = 40.0
    return logits


def main():
    many = torch.randint(1, 6, (35,)).tolist()
    infeasible = dict(classes=4, lists=[[1, 2], [2, 2, 2], [3, 1, 2]], lengths=[6, 4, 2])
    cases = [
        case("one-step", 3, [[2]], [1]),
        case("ragged", 5, [[1, 2, 3], [4], [2, 1]], [8, 5, 6]),
        case("repeated", 4, [[1, 1, 2], [3, 3, 3], [2, 2]], [7, 8, 4]),
        case("exact-fit", 3, [[1, 1, 2, 1], [1, 2, 1, 2, 1]], [5, 5]),
        case("empty", 3, [[], [1], []], [4, 3, 2]),
        case("one-label", 2, [[1], [1, 1], [1, 1, 1]], [9, 9, 9]),
        case("weighted", 6, [[5, 1], [2], [3, 3, 4]], [7, 7, 6], weights=[0.5, 0.0, 2.0]),
        case("infeasible", **infeasible),
        case("infeasible-infinite", zero_infinity=False, **infeasible),
        case("certain", 4, [[1, 3, 3]], [6], logits=certain([1, 0, 3, 0, 3, 3], 4)),
        case("certainly-wrong", 4, [[2, 1]], [6], logits=certain([1, 0, 3, 0, 3, 3], 4)),
        case("steep", 5, [[1, 2, 3], [4, 4]], [9, 7], scale=15.0),
        case("long", 6, [many, many[:20]], [80, 61]),
        case("many-classes", 70, [[69, 1, 64], [7, 7]], [5, 4]),
    ]
    path = Path(__file__).with_name("ctc.json")
    path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()

"""Writes losses.json: losses and gradients of small batches as PyTorch computes them in float64.

The losses are those of torch.nn.functional with reduction="none"; only the pinball loss, which
PyTorch lacks, is written out. The mean over a row's known targets and the weighted mean over rows
are gatescan's. tests/losses.rs reads the file:
    python tests/interop/losses.py
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

torch.manual_seed(7)
ROWS = 9
MISSING = None


def single(values):
    """Rounds to float32, so that every executor reads the same values."""
    return values.to(torch.float32).to(torch.float64)


def pinball(levels):
    levels = single(torch.tensor(levels))

    def loss(outputs, targets):
        rest = targets[:, None] - outputs
        return torch.maximum(levels * rest, (levels - 1) * rest).mean(1)

    return loss


def gaussian(outputs, targets):
    mean, variance = outputs[:, 0], outputs[:, 1].exp()
    return functional.gaussian_nll_loss(mean, targets, variance, eps=1e-6, reduction="none")


def each(function, **options):
    return lambda outputs, targets: function(outputs[:, 0], targets, reduction="none", **options)


def huber(delta):
    return each(functional.huber_loss, delta=delta)


def case(name, loss, rows, outputs, **about):
    """A case whose rows have these losses, and the gradient of their mean."""
    weights = about.get("weights") or [1.0] * ROWS
    weights = [0.0 if row in about["ignored"] else w for row, w in enumerate(weights)]
    weights = torch.tensor(weights, dtype=torch.float64)
    mean = (rows * weights).sum() / weights.sum()
    (gradient,) = torch.autograd.grad(mean, outputs)
    return dict(
        name=name,
        loss=loss,
        outputs=outputs.tolist(),
        expected=mean.item(),
        gradient=gradient.tolist(),
        **about,
    )


def of_values(name, loss, function, outputs, width, labels=False, weights=None):
    """A case of `width` targets with `outputs` outputs each, some of them missing."""
    predictions = single(2 * torch.randn(ROWS, outputs * width)).requires_grad_()
    targets = torch.randint(0, 2, (ROWS, width)) if labels else torch.randn(ROWS, width)
    targets = single(targets)
    known = torch.rand(ROWS, width) > 0.25
    known[:, 0] |= ~known.any(1)
    by_target = predictions.reshape(ROWS, outputs, width).transpose(1, 2)
    losses = [function(by_target[:, k], targets[:, k]) for k in range(width)]
    losses = torch.stack(losses, 1)
    rows = (losses * known).sum(1) / known.sum(1)
    written = [
        [value if is_known else MISSING for value, is_known in zip(*row)]
        for row in zip(targets.tolist(), known.tolist())
    ]
    return case(name, loss, rows, predictions, targets=written, ignored=[4], weights=weights)


def of_classes(name, classes, smoothing=0.0, weights=None, class_weights=None):
    logits = single(2 * torch.randn(ROWS, classes)).requires_grad_()
    labels = torch.randint(0, classes, (ROWS,))
    rows = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    if class_weights:
        # nn.CrossEntropyLoss(weight=...) has the same mean as targets of these weights.
        given = torch.tensor(class_weights, dtype=torch.float64)
        weights = [class_weights[label] for label in labels.tolist()]
        kept = torch.arange(ROWS) != 2
        theirs = functional.cross_entropy(logits[kept], labels[kept], weight=given)
        found = case(name, "cross-entropy", rows, logits, labels=labels.tolist(), ignored=[2],
                     weights=weights, smoothing=smoothing)
        assert abs(theirs.item() - found["expected"]) < 1e-6
        return found
    return case(name, "cross-entropy", rows, logits, labels=labels.tolist(), ignored=[2],
                weights=weights, smoothing=smoothing)


def main():
    weights = single(torch.rand(ROWS) * 3).tolist()
    weights[6] = 0.0
    levels = [0.1, 0.5, 0.9]
    quantile = {"quantile": {"levels": levels}}
    squares = each(functional.mse_loss)
    binary = each(functional.binary_cross_entropy_with_logits)
    cases = [
        of_values("absolute", "mean-absolute-error", each(functional.l1_loss), 1, 3),
        of_values("huber", {"huber": {"delta": 0.5}}, huber(0.5), 1, 2),
        of_values("huber-wide", {"huber": {"delta": 2.0}}, huber(2.0), 1, 1),
        of_values("quantile", quantile, pinball(levels), 3, 1),
        of_values("quantile-two", quantile, pinball(levels), 3, 2, weights=weights),
        of_values("gaussian", "gaussian-nll", gaussian, 2, 1),
        of_values("gaussian-two", "gaussian-nll", gaussian, 2, 2, weights=weights),
        of_values("labels", "binary-cross-entropy", binary, 1, 4, True),
        of_values("labels-weighted", "binary-cross-entropy", binary, 1, 2, True, weights),
        of_values("squares-weighted", "mean-squared-error", squares, 1, 2, weights=weights),
        of_classes("smoothed", 5, smoothing=0.1),
        of_classes("smoothed-weighted", 70, smoothing=0.3, weights=weights),
        of_classes("class-weights", 3, class_weights=[0.25, 1.0, 4.0]),
    ]
    path = Path(__file__).with_name("losses.json")
    path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()

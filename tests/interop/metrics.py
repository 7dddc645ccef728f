"""Writes what scikit-learn computes for made-up predictions to tests/metrics/sklearn.json, which
tests/metrics.rs compares with gatescan's metrics.

    python tests/interop/metrics.py

It needs numpy and scikit-learn; the versions are in the file.
"""

import json
from pathlib import Path

import numpy
import sklearn
from sklearn import calibration, metrics

OUTPUT = Path(__file__).parents[1] / "metrics" / "sklearn.json"


def softmax(logits):
    powers = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def class_case(random, count, classes, labels=None, digits=2):
    """Logits with few digits, so that some scores are equal, and what they score."""
    logits = random.normal(size=(count, classes)).round(digits)
    truth = random.integers(0, classes, count) if labels is None else numpy.array(labels)
    # Half of the outputs favour the true class.
    logits[numpy.arange(count), truth] += (random.random(count) < 0.5) * 1.5
    logits = logits.astype(numpy.float32).astype(numpy.float64)
    probabilities = softmax(logits)
    predicted = logits.argmax(axis=1)
    names = list(range(classes))
    averaged = {
        name: {
            average: score(truth, predicted, average=average, zero_division=0)
            for average in ("macro", "weighted")
        }
        for name, score in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
        )
    }
    per_class = metrics.precision_recall_fscore_support(
        truth, predicted, labels=names, zero_division=numpy.nan
    )
    positive = [truth == name for name in names]

    def both(k):
        return positive[k].any() and not positive[k].all()

    roc_auc = [
        metrics.roc_auc_score(positive[k], probabilities[:, k].astype(numpy.float32))
        if both(k)
        else None
        for k in names
    ]
    precision = [
        metrics.average_precision_score(positive[k], probabilities[:, k].astype(numpy.float32))
        if positive[k].any()
        else None
        for k in names
    ]
    if classes == 2:
        brier = metrics.brier_score_loss(truth, probabilities[:, 1], labels=names)
        judged, came_true = probabilities[:, 1], truth == 1
    else:
        brier = metrics.brier_score_loss(truth, probabilities, labels=names)
        judged, came_true = probabilities.max(axis=1), truth == predicted
    observed, mean = calibration.calibration_curve(came_true, judged, n_bins=10)

    def numbers(values):
        return [None if numpy.isnan(value) else float(value) for value in values]

    return {
        "logits": logits.tolist(),
        "labels": truth.tolist(),
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        **averaged,
        "class_precision": numbers(per_class[0]),
        "class_recall": numbers(per_class[1]),
        "class_f1": numbers(per_class[2]),
        "roc_auc": roc_auc,
        "average_precision": precision,
        "log_loss": metrics.log_loss(truth, probabilities, labels=names),
        "brier": brier,
        "calibration": {"predicted": mean.tolist(), "observed": observed.tolist()},
    }


def value_case(random, count, scale, shift):
    targets = random.normal(size=count) * scale + shift
    predictions = targets + random.normal(size=count) * 0.3 * scale
    return {
        "targets": targets.tolist(),
        "predictions": predictions.tolist(),
        "mae": metrics.mean_absolute_error(targets, predictions),
        "rmse": metrics.root_mean_squared_error(targets, predictions),
        "mape": metrics.mean_absolute_percentage_error(targets, predictions),
        "r2": metrics.r2_score(targets, predictions),
        "pinball": [
            {"quantile": q, "loss": metrics.mean_pinball_loss(targets, predictions, alpha=q)}
            for q in (0.1, 0.5, 0.9)
        ],
    }


def main():
    random = numpy.random.default_rng(7)
    rare = [0] * 17 + [1] * 3
    cases = {
        "versions": {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__},
        "classes": [
            class_case(random, 40, 2),
            class_case(random, 20, 2, labels=rare),
            class_case(random, 60, 4),
            # The last class does not occur.
            class_case(random, 30, 5, labels=[n % 4 for n in range(30)], digits=1),
            # One class only.
            class_case(random, 8, 3, labels=[1] * 8),
        ],
        "values": [value_case(random, 50, 1.0, 0.0), value_case(random, 30, 0.01, 1000.0)],
    }
    OUTPUT.write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

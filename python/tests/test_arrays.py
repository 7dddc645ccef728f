"""Arrays of every type and layout: the right result, or a clear exception."""

import io
import subprocess
import sys

import numpy as np
import pytest
from common import CPU, recipe, waves

import gatescan

X, Y = waves(24)
EXPECTED = gatescan.train(recipe(), (X, Y), device=CPU, progress=False).model.state_dict()


def same(x, y):
    weights = gatescan.train(recipe(), (x, y), device=CPU, progress=False).model.state_dict()
    return all((array == EXPECTED[name]).all() for name, array in weights.items())


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.float64),
        lambda a: a.astype(">f4"),
        lambda a: a.astype(">f8"),
        lambda a: a.astype(np.longdouble),
        lambda a: a.astype(object),
        lambda a: a.tolist(),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
        lambda a: np.ascontiguousarray(a[::-1])[::-1],
        read_only,
        lambda a: a[:, :, 0],
        lambda a: np.ma.MaskedArray(a),
        lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
        lambda a: np.ndarray(a.shape, a.dtype, b"\0" + a.tobytes(), offset=1),
        lambda a: list(a),
    ],
)
def test_inputs_of_every_layout_are_read(change):
    assert same(change(X), Y)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.uint8),
        lambda a: a.astype(">i8"),
        lambda a: a.astype(bool),
        lambda a: a.tolist(),
        lambda a: np.repeat(a, 3)[::3],
        read_only,
    ],
)
def test_labels_of_every_layout_are_read(change):
    assert same(X, change(Y))


def test_half_precision_is_read():
    half = X.astype(np.float16)
    assert same(half.astype(np.float32), Y) == same(half, Y)
    run = gatescan.train(recipe(), (half, Y), device=CPU, progress=False)
    assert np.isfinite(run.epochs[-1]["train_loss"])


def at(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (at(X, (3, 2, 0), np.nan), Y, r"inputs at \[3, 2, 0\] are NaN"),
        (at(X, (3, 2, 0), np.inf), Y, r"inputs at \[3, 2, 0\] are inf"),
        (at(X.astype(np.float64), (1, 0, 0), 1e300), Y, r"inputs at \[1, 0, 0\] are inf"),
        (X.astype(complex), Y, "dtype complex128"),
        (X.astype("U8"), Y, "dtype <U"),
        (X.astype("M8[s]"), Y, "dtype datetime64"),
        (at(X.astype(object), (0, 0, 0), "1"), Y, "texts"),
        (at(X.astype(object), (0, 0, 0), 1j), Y, "complex"),
        (at(X.astype(object), (0, 0, 0), {}), Y, "not all numbers"),
        (np.ma.MaskedArray(X, mask=at(np.zeros(X.shape, bool), (0, 0, 0), True)), Y, "masked"),
        (X[0, :, 0], Y, r"shape \[15\]"),
        (X[None], Y, r"must be \[N, T, I\]"),
        (X[:0], Y[:0], "at least one sequence"),
        (X[:5], Y, "there are 24 labels; there must be 5"),
        ([[1.0, 2.0], "three"], Y, "inputs of data"),
        (None, Y, "inputs of data"),
        ({"x": 1}, Y, "inputs of data"),
        (X, Y.astype(np.float64), "must be integers"),
        (X, Y.astype("U1"), "must be integers"),
        (X, np.where(Y == 0, -1, 1), "value -1"),
        (X, Y[:, None, None], "shape"),
        (X, Y.astype(object), "dtype object"),
        (X, np.full(len(Y), 2**40), "value 1099511627776"),
        (X, None, "labels of data"),
    ],
)
def test_wrong_arrays_are_refused_by_name(x, y, text):
    with pytest.raises((gatescan.DataError, gatescan.UsageError), match=text):
        gatescan.train(recipe(), (x, y), device=CPU, progress=False)


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([3] * 23, "23 lengths|lengths"),
        ([16] * 24, "16"),
        ([-1] * 24, "value -1"),
        ([2.5] * 24, "must be integers"),
        ([[3]] * 24, "shape"),
    ],
)
def test_wrong_lengths_are_refused(lengths, text):
    with pytest.raises((gatescan.DataError, gatescan.UsageError), match=text):
        gatescan.train(recipe(), (X, Y, lengths), device=CPU, progress=False)


def test_sequences_of_different_lengths_are_padded():
    lengths = 1 + np.arange(len(X)) % X.shape[1]
    ragged = [each[:length] for each, length in zip(X, lengths, strict=True)]
    cut = X * (np.arange(X.shape[1])[None, :, None] < lengths[:, None, None])
    runs = [
        gatescan.train(recipe(), data, device=CPU, progress=False)
        for data in [(ragged, Y), (cut, Y, lengths), (X, Y, lengths)]
    ]
    weights = [run.model.state_dict()["head.weight"] for run in runs]
    assert (weights[0] == weights[1]).all()
    assert (weights[0] == weights[2]).all()
    model = runs[0].model
    assert (
        model.predict_proba(ragged, device=CPU) == model.predict_proba(X, lengths, device=CPU)
    ).all()
    with pytest.raises(gatescan.UsageError, match="no lengths of its own"):
        model.predict(ragged, lengths)
    with pytest.raises(gatescan.DataError, match="2 features"):
        gatescan.train(recipe(), ([ragged[0], np.ones((3, 2))], Y[:2]), device=CPU)


def test_labels_of_steps_may_be_ignored():
    y = np.repeat(Y[:, None], X.shape[1], axis=1)
    y[:, :5] = -1
    run = gatescan.train(recipe(reads="every"), (X, y), device=CPU, progress=False)
    assert run.model.predict(X, device=CPU).shape == y.shape


def test_values_are_learnt_of_sequences_and_steps():
    for reads, y in [("last", X[:, -1]), ("last", X[:, -1, 0]), ("every", X), ("every", X[..., 0])]:
        run = gatescan.train(
            recipe("mean-squared-error", reads), (X, y), device=CPU, progress=False
        )
        shape = (24, 15, 1) if reads == "every" else (24, 1)
        assert run.model.predict(X, device=CPU).shape == shape
    with pytest.raises(gatescan.DataError, match=r"must be \[N, K\] or \[N\]"):
        gatescan.train(recipe("mean-squared-error"), (X, X), device=CPU)
    with pytest.raises(gatescan.Error, match="NaN"):
        gatescan.train(recipe("mean-squared-error"), (X, at(X[:, -1], (2, 0), np.nan)), device=CPU)


def test_tokens_are_read():
    tokens = np.arange(60).reshape(12, 5) % 7
    network = {
        "input": "one-hot",
        "layer": [{"cell": "gru", "hidden_size": 8, "bias": "double"}],
        "head": {"loss": "cross-entropy", "reads": "every"},
    }
    run = gatescan.train(
        recipe(network=network), (tokens, np.roll(tokens, -1, 1)), device=CPU, progress=False
    )
    assert run.model.predict(tokens, device=CPU).shape == (12, 5)
    for wrong, text in [
        (tokens.astype(float), "dtype float64"),
        (tokens - 3, "value -3"),
        (tokens + 20, "below|vocabulary"),
    ]:
        with pytest.raises(gatescan.Error, match=text):
            run.model.predict(wrong, device=CPU)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (at(X, (3, 2, 0), np.nan), r"\[3, 2, 0\]"),
        (np.concatenate([X, X], axis=2), "features|inputs"),
        (X[:, :0], "step"),
        (X.astype(complex), "dtype complex128"),
    ],
)
def test_wrong_inputs_of_predictions_are_refused(x, text):
    model = gatescan.train(recipe(), (X, Y), device=CPU, progress=False).model
    with pytest.raises((gatescan.DataError, gatescan.UsageError), match=text):
        model.predict(x, device=CPU)


def test_predictions_do_not_depend_on_the_layout():
    model = gatescan.train(recipe(), (X, Y), device=CPU, progress=False).model
    expected = model.predict_proba(X, device=CPU)
    for x in (X.astype(">f4"), X.astype(object), X[::-1][::-1], np.asfortranarray(X), X[:, :, 0]):
        assert (model.predict_proba(x, device=CPU) == expected).all()


def test_frames_and_archives_are_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    time = pandas.date_range("2024-01-01", periods=200, freq="h")
    load = np.sin(np.arange(200) / 4) + 5
    frame = pandas.DataFrame({"load": load, "is_open": np.arange(200) % 24 < 12}, index=time)
    proposal = gatescan.propose(frame, target="load", steps=12)
    assert "load" in proposal.task
    run = gatescan.train(proposal.recipe, frame, device=CPU, progress=False, settings={"epochs": 2})
    assert run.model.recipe["data"]["path"] == "DataFrame.csv"
    assert run.report().html
    with pytest.raises(gatescan.UsageError, match='must be "csv"'):
        gatescan.train(recipe(), frame, device=CPU)

    arrays = {"inputs": X, "labels": np.where(Y == 0, "slow", "fast")}
    proposal = gatescan.propose(arrays)
    run = gatescan.train(
        proposal.recipe, arrays, device=CPU, progress=False, settings={"epochs": 1}
    )
    assert sorted(run.model.classes) == ["fast", "slow"]
    # The arrays' file is gone, and the report has the predictions all the same.
    assert "confusion" in run.report().html.lower()
    assert set(run.model.predict(X, device=CPU)) <= {"fast", "slow"}
    with pytest.raises(gatescan.UsageError, match='must be "npy"'):
        gatescan.train(recipe(), arrays, device=CPU)


def test_a_series_is_forecast():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"v": np.sin(np.arange(300) / 5)})
    proposal = gatescan.propose(frame, steps=20)
    run = gatescan.train(proposal.recipe, frame, device=CPU, progress=False, settings={"epochs": 3})
    found = run.model.forecast(10, frame, device=CPU)
    assert found.columns == ["v"]
    np.testing.assert_allclose(found.values[:, 0], np.sin(np.arange(300, 310) / 5), atol=0.1)
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(gatescan.UsageError, match="at least 1"):
            run.model.forecast(wrong, frame, device=CPU)


def test_a_model_of_a_table_takes_frames(tmp_path):
    """The predictions are those of the command line."""
    pandas = pytest.importorskip("pandas")
    time = np.arange(300)
    noise = np.random.default_rng(0).normal(0, 0.1, 300)
    frame = pandas.DataFrame({"t": time, "a": np.cos(time / 9), "y": np.sin(time / 9) + noise})
    proposal = gatescan.propose(frame, target="y", time="t", steps=12)
    settings = {"epochs": 2}
    run = gatescan.train(proposal.recipe, frame, device=CPU, progress=False, settings=settings)
    newer = frame.iloc[:60]
    found = run.model.predict(newer, device=CPU)
    newer.to_csv(tmp_path / "newer.csv", index=False)
    run.model.save(tmp_path / "model.safetensors")
    program = [sys.executable, "-m", "gatescan", "predict", "model.safetensors", "newer.csv"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = pandas.read_csv(io.StringIO(done.stdout))
    assert list(found.columns) == ["row", "y"]
    np.testing.assert_array_equal(found["row"], printed["row"])
    np.testing.assert_allclose(found["y"], printed["y"], rtol=1e-5, atol=1e-5)
    pandas.testing.assert_frame_equal(run.model.predict(tmp_path / "newer.csv", device=CPU), found)
    measured = run.model.evaluate(newer, device=CPU)
    assert 0 < measured["loss"] < 10 and measured["accuracy"] is None
    with pytest.raises(gatescan.UsageError, match="predicts values and not classes"):
        run.model.predict_proba(newer)
    with pytest.raises(gatescan.UsageError, match="y is not allowed"):
        run.model.evaluate(newer, newer["y"])
    with pytest.raises(gatescan.UsageError, match="y is missing"):
        run.model.evaluate(X)
    with pytest.raises(gatescan.UsageError, match="not trained on a table"):
        gatescan.train(recipe(), (X, Y), device=CPU, progress=False).model.predict(newer)

    groups = np.repeat(np.arange(40), 10)
    fast = np.repeat(np.arange(40) % 2, 10)
    step = np.tile(np.arange(10), 40)
    named = np.where(fast == 1, "fast", "slow")
    table = pandas.DataFrame({"id": groups, "x": np.sin((1 + fast) * step), "kind": named})
    proposal = gatescan.propose(table, target="kind", group="id")
    settings = {"epochs": 15}
    run = gatescan.train(proposal.recipe, table, device=CPU, progress=False, settings=settings)
    kinds = run.model.predict(table[["id", "x"]], device=CPU)
    assert list(kinds.columns) == ["id", "row", "class"] and len(kinds) == 40
    truth = np.where(kinds["id"].astype(int) % 2, "fast", "slow")
    assert (kinds["class"] == truth).mean() > 0.9
    shares = run.model.predict_proba(table[["id", "x"]], device=CPU)
    assert list(shares.columns) == ["id", "row", *run.model.classes]
    np.testing.assert_allclose(shares[run.model.classes].sum(axis=1), 1, rtol=1e-5)
    assert run.model.evaluate(table, device=CPU)["accuracy"] > 0.9

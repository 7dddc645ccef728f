"""The estimators keep scikit-learn's conventions."""

import pickle

import numpy as np
import pytest
from common import waves

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import gatescan
from gatescan.sklearn import Forecaster, SequenceClassifier, SequenceRegressor

X, Y = waves(80)
NAMES = np.array(["slow", "fast"])[Y]

# The checks of scikit-learn pass tables [N, T], which are sequences of one feature. All of them
# are run. check_array_api_input skips itself, unless SCIPY_ARRAY_API is set.


@parametrize_with_checks(
    [
        SequenceClassifier(epochs=30, hidden_size=8, random_state=0),
        SequenceRegressor(epochs=30, hidden_size=8, random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_classifier_learns_names():
    model = SequenceClassifier(epochs=15, hidden_size=8, random_state=0).fit(X, NAMES)
    unseen, labels = waves(40, seed=3)
    assert model.score(unseen, np.array(["slow", "fast"])[labels]) > 0.9
    assert list(model.classes_) == ["fast", "slow"]
    assert model.predict_proba(unseen).shape == (40, 2)
    same = SequenceClassifier(epochs=15, hidden_size=8, random_state=0).fit(X, NAMES)
    assert (same.predict_proba(unseen) == model.predict_proba(unseen)).all()
    loaded = pickle.loads(pickle.dumps(model))
    assert (loaded.predict(unseen) == model.predict(unseen)).all()
    # The model takes inputs in their own units, as the estimator does.
    np.testing.assert_allclose(
        model.model_.predict_proba(unseen, device="cpu"), model.predict_proba(unseen), atol=1e-6
    )


def test_inputs_in_other_units_are_normalised():
    plain = SequenceClassifier(epochs=5, hidden_size=8, random_state=0).fit(X, Y)
    shifted = SequenceClassifier(epochs=5, hidden_size=8, random_state=0).fit(X * 1e4 + 1e6, Y)
    np.testing.assert_allclose(
        shifted.predict_proba(X.astype(np.float64) * 1e4 + 1e6), plain.predict_proba(X), atol=1e-2
    )


def test_a_regressor_predicts_one_or_several_values():
    for y in (X[:, -1, 0], X[:, -2:, 0]):
        model = SequenceRegressor(epochs=40, hidden_size=16, random_state=0).fit(X, y)
        assert model.predict(X).shape == y.shape
        assert model.score(X, y) > 0.9


def test_layouts_and_ragged_sequences_are_read():
    def fitted(x, **options):
        return SequenceClassifier(epochs=2, hidden_size=4, random_state=0, **options).fit(x, Y)

    wide = np.concatenate([X, X**2], axis=2)
    expected = fitted(wide).predict_proba(wide)
    turned = wide.transpose(0, 2, 1)
    assert (fitted(turned, layout="channels-first").predict_proba(turned) == expected).all()
    ragged = [each[: 8 + n % 8] for n, each in enumerate(wide)]
    expected = fitted(ragged).predict_proba(ragged)
    padded = np.full(wide.shape, np.nan)
    for row, each in zip(padded, ragged, strict=True):
        row[: len(each)] = each
    np.testing.assert_allclose(fitted(padded).predict_proba(padded), expected, atol=1e-6)
    turned = [each.T for each in ragged]
    assert (fitted(turned, layout="channels-first").predict_proba(turned) == expected).all()
    objects = np.empty(len(ragged), object)
    objects[:] = ragged
    assert (fitted(objects).predict_proba(objects) == expected).all()
    with pytest.raises(ValueError, match="contains NaN at"):
        fitted(np.where(np.arange(15)[None, :, None] == 3, np.nan, wide))
    with pytest.raises(gatescan.UsageError, match="layout"):
        fitted(wide, layout="sideways")


def test_searches_pipelines_and_clones():
    model = SequenceClassifier(epochs=4, random_state=0)
    search = GridSearchCV(model, {"hidden_size": [4, 8], "cell": ["lstm", "gru"]}, cv=2)
    search.fit(X, NAMES)
    assert set(search.best_params_) == {"hidden_size", "cell"}
    assert cross_val_score(model, X, Y, cv=3).shape == (3,)
    chain = make_pipeline(FunctionTransformer(np.tanh, validate=False), model).fit(X, Y)
    assert chain.predict(X).shape == (80,)
    other = clone(model).set_params(hidden_size=3, settings={"network.layer.0.forget_bias": 1.0})
    assert other.get_params()["hidden_size"] == 3
    assert other.fit(X, Y).model_.recipe["network"]["layer"][0]["forget_bias"] == 1.0
    assert not hasattr(clone(model), "model_")


def test_the_best_epoch_is_kept():
    options = {"epochs": 60, "hidden_size": 8, "validation_fraction": 0.25, "patience": 3}
    model = SequenceClassifier(random_state=1, learning_rate=0.3, **options).fit(X, Y)
    assert model.n_iter_ < 60
    assert model.run_.epochs[0]["validation_loss"] is not None


def test_wrong_parameters_are_refused():
    for wrong, text in [
        ({"cell": "nonesuch"}, "unknown value `nonesuch`"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ({"dropout": 1.5}, "output_keep_prob"),
    ]:
        with pytest.raises(gatescan.UsageError, match=text):
            SequenceClassifier(**wrong).fit(X, Y)


def test_a_forecaster_continues_series():
    pandas = pytest.importorskip("pandas")
    time = np.arange(320)
    series = np.sin(time / 5) + 0.01 * time
    model = Forecaster(epochs=3, steps=20, random_state=0).fit(series[:300])
    assert model.score(series[300:310]) > 0.9
    assert model.predict(4).shape == (4,)
    other = model.predict(3, y=series[:200])
    np.testing.assert_allclose(other, series[200:203], atol=0.3)
    index = pandas.date_range("2024-01-01", periods=300, freq="D")
    frame = pandas.DataFrame({"a": series[:300], "b": np.cos(time / 5)[:300]}, index=index)
    found = clone(model).fit(frame).predict(5)
    assert list(found.columns) == ["a", "b"]
    assert found.index[0] == pandas.Timestamp("2024-10-27")
    np.testing.assert_allclose(found["b"], np.cos(time / 5)[300:305], atol=0.3)
    with pytest.raises(gatescan.UsageError, match=r"has learnt means; make it by Forecaster\("):
        model.predict(3, quantiles=[0.1])
    with pytest.raises(gatescan.UsageError, match="at least 1"):
        model.predict(0)
    with pytest.raises(ValueError, match="NaN"):
        Forecaster().fit([1.0, np.nan, 2.0])
    # A series that only counts is continued too.
    counted = Forecaster(epochs=1, steps=10, random_state=0).fit(np.arange(200.0)).predict(3)
    np.testing.assert_allclose(counted, [200, 201, 202], atol=1)


def test_a_forecaster_of_quantiles():
    """A random walk whose steps have a deviation of 1: the deviation after n steps is sqrt(n)."""
    walk = np.random.default_rng(1).normal(size=1500).cumsum()
    levels = [0.1, 0.5, 0.9]
    model = Forecaster(epochs=10, steps=4, quantiles=levels, random_state=0).fit(walk)
    found = model.predict(16, quantiles=levels)
    assert found.shape == (16, 3)
    assert (np.diff(found, axis=1) > 0).all()
    np.testing.assert_array_equal(model.predict(16, quantiles=levels), found)
    # The distance of the outer quantiles of a normal distribution: 2 * 1.2816 deviations.
    deviations = (found[:, 2] - found[:, 0]) / 2.5631
    np.testing.assert_allclose(deviations[[0, 3, 15]], [1, 2, 4], rtol=0.25)
    # One value is the median; the first one is that of the quantiles.
    np.testing.assert_allclose(model.predict(1), found[:1, 1])
    np.testing.assert_array_equal(model.predict(2, quantiles=[0.9])[:, 0], found[:2, 2])
    with pytest.raises(gatescan.UsageError, match=r"quantiles has 0.33, and this forecaster"):
        model.predict(3, quantiles=[0.33])
    with pytest.raises(gatescan.UsageError, match=r"quantiles has 1.5; give levels between"):
        Forecaster(quantiles=[1.5]).fit(walk)
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2024-01-01", periods=300, freq="D")
    frame = pandas.DataFrame({"a": walk[:300], "b": -walk[:300]}, index=index)
    few = clone(model).set_params(epochs=1)
    both = few.fit(frame).predict(3, quantiles=[0.1, 0.9])
    assert list(both.columns) == [("a", 0.1), ("a", 0.9), ("b", 0.1), ("b", 0.9)]
    assert both.index[0] == pandas.Timestamp("2024-10-27")
    assert (both["a"][0.1] < both["a"][0.9]).all() and (both["b"][0.1] < both["b"][0.9]).all()
    one = few.fit(frame["a"]).predict(2, quantiles=[0.5])
    assert list(one.columns) == [0.5] and len(one) == 2

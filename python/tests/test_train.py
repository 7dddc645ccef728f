"""Training: data, events, stopping, files, and models."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from common import CPU, recipe, waves

import gatescan


def trained(**changes):
    x, y = waves()
    return gatescan.train(recipe(**changes), (x, y), device=CPU, progress=False)


def test_a_model_learns_and_a_seed_gives_the_same_bits():
    x, y = waves()
    run = gatescan.train(
        recipe(epochs=12),
        (x, y),
        test=waves(40, seed=1),
        device=CPU,
        progress=False,
    )
    assert run.ending == "complete"
    assert run.step == 12 * 4
    assert run.epochs[-1]["test_accuracy"] > 0.95
    unseen, labels = waves(50, seed=2)
    assert (run.model.predict(unseen, device=CPU) == labels).mean() > 0.9
    shares = run.model.predict_proba(unseen, device=CPU)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    again = gatescan.train(recipe(epochs=12), (x, y), device=CPU, progress=False)
    for name, array in again.model.state_dict().items():
        assert (array == run.model.state_dict()[name]).all()
    other = gatescan.train(recipe(epochs=12, seed=1), (x, y), device=CPU, progress=False)
    assert (other.model.state_dict()[name] != array).any()


def test_the_gpu_trains_as_the_cpu_does():
    if all(device.index is None for device in gatescan.devices()):
        pytest.skip("there is no adapter")
    x, y = waves(32)
    losses = [
        gatescan.train(recipe(), (x, y), device=device, progress=False).epochs[-1]["train_loss"]
        for device in ("cpu", "gpu")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_history_is_a_frame_and_reports_are_pages():
    run = trained()
    frame = run.history
    assert list(frame.index) == [1, 2, 3]
    assert frame["train_loss"].iloc[-1] == run.epochs[-1]["train_loss"]
    page = run.report()
    assert page.html.lstrip().lower().startswith("<!doctype html>")
    assert "<iframe srcdoc=" in page._repr_html_()
    assert "<table>" in run._repr_html_()
    assert "complete" in repr(run)
    assert "lstm 8" in repr(run.model)


def test_history_is_a_list_without_pandas(monkeypatch):
    run = trained()
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]


def test_callbacks_hear_every_event_and_may_stop_the_run():
    events = []
    trained_run = gatescan.train(
        recipe(), waves(), device=CPU, progress=False, callbacks=[events.append]
    )
    epochs = [event for event in events if isinstance(event, gatescan.Epoch)]
    steps = [event for event in events if isinstance(event, gatescan.Progress)]
    assert [event.epoch for event in epochs] == [1, 2, 3]
    assert sum(len(event.step_losses) for event in steps) == trained_run.step

    def stop(event):
        return gatescan.STOP if isinstance(event, gatescan.Epoch) else None

    with pytest.warns(gatescan.TrainingWarning, match="interrupted after 4 updates"):
        run = gatescan.train(recipe(), waves(), device=CPU, progress=False, callbacks=[stop])
    assert run.ending == "interrupted"
    assert len(run.epochs) == 1
    assert run.model.predict(waves()[0], device=CPU).shape == (120,)


def test_an_exception_of_a_callback_is_raised():
    def fails(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gatescan.train(recipe(), waves(), device=CPU, progress=False, callbacks=[fails])
    with pytest.raises(gatescan.UsageError, match="list of functions"):
        gatescan.train(recipe(), waves(), device=CPU, callbacks=fails)


def test_ctrl_c_stops_after_the_step_and_keeps_the_run(tmp_path):
    def interrupt(event):
        if event.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    x, y = waves()
    changes = recipe(epochs=10_000)
    with pytest.warns(gatescan.TrainingWarning, match="interrupted"):
        run = gatescan.train(
            changes, (x, y), device=CPU, progress=False, callbacks=[interrupt], out=tmp_path / "r"
        )
    assert run.ending == "interrupted"
    assert 4 <= run.step < 40_000
    # A resumed run has the same bits as one that was never interrupted.
    resumed = gatescan.resume(
        tmp_path / "r", (x, y), device=CPU, progress=False, settings={"epochs": run.step // 4 + 3}
    )
    plain = gatescan.train(recipe(epochs=run.step // 4 + 3), (x, y), device=CPU, progress=False)
    assert resumed.ending == "complete"
    for name, array in plain.model.state_dict().items():
        assert (array == resumed.model.state_dict()[name]).all()


def test_a_directory_has_the_files_of_the_command_line(tmp_path):
    run = gatescan.train(recipe(), waves(), device=CPU, progress=False, out=tmp_path / "run")
    assert run.path == tmp_path / "run"
    names = {path.name for path in run.path.iterdir()}
    assert {"model.safetensors", "metrics.jsonl", "recipe.toml", "report.html"} <= names
    loaded = gatescan.Model.load(run.path)
    x, _ = waves(10)
    assert (loaded.predict_proba(x, device=CPU) == run.model.predict_proba(x, device=CPU)).all()
    with pytest.raises(gatescan.UsageError, match="earlier run"):
        gatescan.train(recipe(), waves(), device=CPU, progress=False, out=tmp_path / "run")


def test_models_are_saved_pickled_and_exported(tmp_path):
    run = trained()
    x, y = waves(10)
    expected = run.model.predict_proba(x, device=CPU)
    run.model.save(tmp_path / "model.safetensors")
    for model in (
        gatescan.Model.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(run.model)),
    ):
        assert (model.predict_proba(x, device=CPU) == expected).all()
    graph = run.model.to_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == graph
    found = run.model.evaluate(x, y, device=CPU)
    assert found["accuracy"] == (expected.argmax(axis=1) == y).mean()
    assert run.model.recipe["network"]["layer"][0]["hidden_size"] == 8


def test_parameters_are_read_and_replaced():
    run, other = trained(), trained(seed=5)
    x, _ = waves(10)
    weights = other.model.state_dict()
    # Any names, as the modules of PyTorch have them.
    run.model.load_state_dict(
        {name.replace("rnn.", "my.lstm.").replace("head.", "fc."): w for name, w in weights.items()}
    )
    assert (
        run.model.predict_proba(x, device=CPU) == other.model.predict_proba(x, device=CPU)
    ).all()
    with pytest.raises(gatescan.UsageError, match="no parameter nothing"):
        run.model.load_state_dict({**weights, "nothing": np.zeros(1)})
    del weights["head.bias"]
    with pytest.raises(gatescan.Error, match=r"head\.bias"):
        run.model.load_state_dict(weights)


def test_states_continue_a_sequence():
    x, _ = waves(6, steps=10)
    model = gatescan.train(
        recipe("mean-squared-error", "every"), (x, x), device=CPU, progress=False
    ).model
    whole = model.outputs(x, device=CPU)
    first = model.outputs(x[:, :4], device=CPU)
    rest = model.outputs(x[:, 4:], initial=first.states, device=CPU)
    np.testing.assert_allclose(rest.outputs, whole.outputs[:, 4:], atol=1e-6)
    assert whole.hidden.shape == (6, 10, 8)
    assert whole.probabilities is None
    with pytest.raises(gatescan.UsageError, match="predicts values"):
        model.predict_proba(x, device=CPU)


def test_a_recipe_is_a_dict_a_name_or_a_file(tmp_path):
    whole = gatescan.recipe(recipe())
    assert whole["batch_size"] == 32
    assert whole["data"] == {"kind": "arrays"}
    path = tmp_path / "mine.toml"
    path.write_text(gatescan.to_toml(whole))
    assert gatescan.recipe(path) == whole
    run = gatescan.train(path, waves(), device=CPU, progress=False, settings={"epochs": 1})
    assert run.step == 4
    assert gatescan.recipe("mnist")["network"]["layer"][0]["cell"] == "lstm"
    small = {"steps": 3, "network.layer.0.hidden_size": 4, "data.windows": 200}
    run = gatescan.train("series", device=CPU, progress=False, settings=small)
    assert run.step == 3


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"batchsize": 3}, "unknown key `batchsize`"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"epochs": "many"}, "whole number"),
        ({"optimizer": {"kind": "adam", "lr": float("nan")}}, "use numbers"),
        ({"optimizer": {"kind": "adam", "lr": object()}}, "use numbers"),
    ],
)
def test_wrong_recipes_are_refused(wrong, text):
    with pytest.raises(gatescan.UsageError, match=text):
        gatescan.train(recipe(**wrong), waves(), device=CPU)


def test_wrong_requests_have_classes_of_their_own(tmp_path):
    x, y = waves()
    with pytest.raises(gatescan.UsageError, match="nonesuch"):
        gatescan.train("nonesuch", (x, y))
    with pytest.raises(gatescan.errors.UnknownDeviceError, match="99"):
        gatescan.train(recipe(), (x, y), device=99)
    with pytest.raises(gatescan.UsageError, match="type float"):
        gatescan.train(recipe(), (x, y), device=1.5)
    with pytest.raises(gatescan.UsageError, match="type int"):
        gatescan.train(3, (x, y))
    with pytest.raises(gatescan.UsageError, match=r"\(x, y\)"):
        gatescan.train(recipe(), (x,))
    with pytest.raises(gatescan.FileError, match="no such file"):
        gatescan.Model.load(tmp_path)
    with pytest.raises(OSError):
        gatescan.Model.load(tmp_path)
    with pytest.raises(ValueError):
        gatescan.recipe({})
    with pytest.raises(gatescan.UsageError, match="arrays of a program"):
        gatescan.train(recipe(), device=CPU)


def test_progress_is_shown(capfd):
    gatescan.train(recipe(), waves(), device=CPU)
    assert "epoch 3: train_loss" in capfd.readouterr().err


def test_two_threads_train_at_once():
    x, y = waves()
    alone = [
        gatescan.train(recipe(seed=seed), (x, y), device=CPU, progress=False) for seed in range(2)
    ]
    together = {}

    def work(seed):
        together[seed] = gatescan.train(recipe(seed=seed), (x, y), device=CPU, progress=False)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        for name, array in alone[seed].model.state_dict().items():
            assert (array == together[seed].model.state_dict()[name]).all()


def test_the_lock_of_python_is_released():
    turns = []
    done = threading.Event()

    def count():
        while not done.is_set():
            turns.append(len(turns))
            done.wait(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    gatescan.train(
        recipe(
            epochs=1,
            network={
                "layer": [{"cell": "lstm", "hidden_size": 128}],
                "head": {"loss": "cross-entropy"},
            },
        ),
        waves(600, 60),
        device=CPU,
        progress=False,
    )
    done.set()
    thread.join()
    assert len(turns) > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_computes_after_its_parent():
    x, y = waves(20)
    model = gatescan.train(recipe(), (x, y), device=CPU, progress=False).model
    expected = model.predict_proba(x, device=CPU)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        same = bool((model.predict_proba(x, device=CPU) == expected).all())
        again = gatescan.train(recipe(), (x, y), device=CPU, progress=False).model
        weights = model.state_dict()
        same &= all((array == weights[n]).all() for n, array in again.state_dict().items())
        os.write(writing, b"same" if same else b"other")
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"same"
    assert os.waitpid(child, 0)[1] == 0


def test_memory_stays_flat():
    # In a process of its own, whose memory no other test has stretched.
    program = Path(__file__).with_name("memory.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout)
    # After a warm-up, 10,000 steps and 300 predictions; a leaked batch a step would be 15 MB.
    assert growth["steps"] == 10_000
    assert growth["bytes"] < 4 << 20, growth


def test_losses_of_labels_and_of_quantiles():
    x, y = waves(60)
    labels = np.stack([y, 1 - y], axis=1)
    run = gatescan.train(
        recipe("binary-cross-entropy", epochs=15), (x, labels), device=CPU, progress=False
    )
    found = run.model.predict(x, device=CPU)
    assert found.dtype == np.int64
    assert (found == labels).mean() > 0.9
    shares = run.model.predict_proba(x, device=CPU)
    assert ((shares > 0.5) == found).all()
    quantiles = {"quantile": {"levels": [0.1, 0.5, 0.9]}}
    run = gatescan.train(recipe(quantiles, epochs=5), (x, x[:, -1]), device=CPU, progress=False)
    low, middle, high = run.model.predict(x, device=CPU).T
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_a_validation_split_decides_and_the_test_split_is_scored_once():
    run = gatescan.train(
        recipe(keep_best=True),
        waves(80),
        validation=waves(40, seed=1),
        test=waves(40, seed=2),
        device=CPU,
        progress=False,
    )
    assert len(run.epochs) == 3
    assert run.epochs[-1]["validation_loss"] is not None
    assert run.test is not None
    assert 0 <= run.test["test_accuracy"] <= 1


def pulses(count, seed):
    """Sequences with a pulse of one feature for each label, and the lists of labels from 1."""
    generator = np.random.default_rng(seed)
    x = np.zeros((count, 12, 3), np.float32)
    lists = []
    for row in x:
        labels = generator.integers(0, 3, generator.integers(0, 5))
        # A step without a pulse is between any two.
        steps = 2 * np.sort(generator.choice(6, len(labels), replace=False))
        row[steps, labels] = 1
        lists.append([int(label) + 1 for label in labels])
    return x + generator.normal(0, 0.05, x.shape).astype(np.float32), lists


def test_lists_of_labels_are_learnt_by_ctc_and_decoded():
    settings = recipe(epochs=60)
    settings["network"]["head"] = {"loss": "ctc", "reads": "every"}
    x, lists = pulses(120, seed=0)
    run = gatescan.train(settings, (x, lists), device=CPU, progress=False)
    unseen, truth = pulses(40, seed=1)
    scores = run.model.evaluate(unseen, truth, device=CPU)
    assert scores["label_error_rate"] < 0.2 and scores["sequence_accuracy"] > 0.5
    for beam in (None, 5):
        found = run.model.decode(unseen, beam=beam, device=CPU)
        assert len(found) == 40 and all(set(each) <= {1, 2, 3} for each in found)
    padded = [each + [-1] * (4 - len(each)) for each in truth]
    assert run.model.evaluate(unseen, np.array(padded), device=CPU) == scores
    assert run.model.predict_proba(unseen, device=CPU).shape == (40, 12, 4)
    with pytest.raises(gatescan.errors.UsageError, match="decode"):
        run.model.predict(unseen, device=CPU)
    with pytest.raises(gatescan.errors.UsageError, match="at least 1"):
        run.model.decode(unseen, beam=0, device=CPU)
    with pytest.raises(gatescan.errors.DataError, match="at least 1"):
        gatescan.train(settings, (x, [[0]] * 120), device=CPU, progress=False)
    with pytest.raises(gatescan.errors.DataError, match="ends its list"):
        wrong = np.tile([[1, -1, 2]], (120, 1))
        gatescan.train(settings, (x, wrong), device=CPU, progress=False)


def test_a_run_begins_with_a_model_and_keeps_frozen_layers():
    x, y = waves()
    first = trained()
    with pytest.warns(gatescan.TrainingWarning, match="layer of the model, its head too"):
        second = gatescan.train(
            recipe(),
            (x, y),
            start=first,
            settings={"freeze": ["layer0"], "epochs": 1},
            device=CPU,
            progress=False,
        )
    old, new = first.model.state_dict(), second.model.state_dict()
    assert (old["rnn.weight_ih_l0"] == new["rnn.weight_ih_l0"]).all()
    assert (old["head.weight"] != new["head.weight"]).any()
    settings = {"network.layer.0.hidden_size": 3}
    with pytest.raises(gatescan.UsageError, match=r"rnn\.weight_ih_l0 is"):
        gatescan.train(
            recipe(),
            (x, y),
            start=first.model,
            settings=settings,
            device=CPU,
            progress=False,
        )

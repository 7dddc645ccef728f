"""The program, devices, checks and measurements."""

import os
import signal
import subprocess
import sys
import time

import pytest
from common import CPU

import gatescan


def command(*arguments, **options):
    program = [sys.executable, "-m", "gatescan", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, **options)


def test_the_program_is_the_command_line_of_the_library(tmp_path):
    assert gatescan.__version__ in command("--version").stdout
    recipes = command("recipes")
    assert recipes.returncode == 0
    assert "mnist" in recipes.stdout
    wrong = command("trian")
    assert wrong.returncode == 2
    assert "train" in wrong.stderr
    missing = command("eval", "nothing", cwd=tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: nothing")
    small = ["--set", "steps=2", "--set", "data.windows=200", "--device", "cpu"]
    trained = command("train", "series", "--out", "run", *small, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "python" not in trained.stdout
    assert command("eval", "run", "--device", "cpu", cwd=tmp_path).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has other signals")
def test_ctrl_c_stops_the_program_and_saves_the_run(tmp_path):
    settings = ["--set", "data.windows=2000", "--epochs", "100000", "--device", "cpu"]
    arguments = ["train", "series", "--out", "run", *settings]
    program = subprocess.Popen(
        [sys.executable, "-m", "gatescan", *arguments], cwd=tmp_path, stderr=subprocess.PIPE
    )
    for _ in range(600):
        if (tmp_path / "run" / "model.safetensors").exists():
            break
        time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, text = program.communicate(timeout=60)
    assert b"--resume run" in text
    assert b"Traceback" not in text
    assert gatescan.Model.load(tmp_path / "run").recipe["epochs"] == 100000


def test_the_script_is_on_the_path():
    import shutil
    import sysconfig

    script = shutil.which("gatescan", path=sysconfig.get_path("scripts"))
    assert script is not None
    done = subprocess.run([script, "recipes"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "mnist" in done.stdout


def test_devices_end_with_the_cpu():
    devices = gatescan.devices()
    assert devices[-1].index is None
    assert devices[-1].request == "cpu"
    assert sum(device.is_default for device in devices) == 1
    assert [device.index for device in devices[:-1]] == list(range(len(devices) - 1))


def test_every_kernel_is_verified():
    found = gatescan.verify(CPU)
    assert found.passed, found.failures
    assert found.cases > 50
    assert "gemm" in found.kernels


def test_a_step_is_profiled():
    recipe = gatescan.recipe("series")
    recipe["data"]["windows"] = 200
    found = gatescan.profile(recipe, device=CPU, steps=2)
    assert any(site["kernel"] == "gemm" for site in found.sites)
    assert "<html" in found.report().html.lower()
    with pytest.raises(gatescan.UsageError, match="steps is 0"):
        gatescan.profile(recipe, device=CPU, steps=0)

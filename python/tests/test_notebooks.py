"""The notebooks run from top to bottom on the CPU, and what they assert holds."""

import time
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

NOTEBOOKS = sorted(Path(__file__).parent.parent.joinpath("notebooks").glob("*.ipynb"))
# Together they may take so many seconds.
MOST_SECONDS = 300
seconds = []


def test_there_are_five():
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    begun = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=MOST_SECONDS, resources=folder).execute()
    plots = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert plots, "the notebook draws nothing"
    seconds.append(time.monotonic() - begun)


def test_together_they_are_quick():
    assert sum(seconds) < MOST_SECONDS, seconds

"""Prints a Markdown table of the results that benches/hardware/run has left in a folder."""

import json
import sys
from pathlib import Path


def objects(folder, name):
    """Returns the JSON objects of a part's output, one for each line; those that were cut are left
    out."""
    path = folder / f"{name}.txt"
    if not path.exists():
        return []
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            pass
    return found


def figure(value):
    return "" if value is None else f"{value:.4g}"


def table(header, rows):
    if not rows:
        return []
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def main(folder):
    lines = ["# A GPU, measured", ""]
    for devices in objects(folder, "devices-json"):
        for adapter in devices["adapters"]:
            tuning = " ".join(adapter.get("tuning") or []) or "none"
            lines.append(
                f"{adapter['name']}, {adapter['backend']}, {adapter['driver']}; lanes that share "
                f"sums: {adapter['shared_lanes']}; remembered before: {tuning}"
            )
    lines += ["", (folder / "parts.md").read_text(), ""]
    steps = objects(folder, "bench-step")
    lines += table(
        ["shape", "train ms", "forward ms", "GFLOP/s", "of ceiling %"],
        [[s["shape"], figure(s["train_ms"]), figure(s["forward_ms"]), figure(s["gflops"]),
          figure(s["ceiling_percent"])] for s in steps if "train_ms" in s],
    )
    scans = objects(folder, "bench-scan")
    lines += table(
        ["scan", "forward µs", "model µs", "backward µs", "model µs"],
        [[s["shape"], figure(s["forward_us"]), figure(s["predicted_forward_us"]),
          figure(s["backward_us"]), figure(s["predicted_backward_us"])]
         for s in scans if "forward_us" in s],
    )
    torch = objects(folder, "torch")
    lines += table(
        ["PyTorch with cuDNN", "eager ms", "CUDA graph ms"],
        [[t["shape"], figure(t["eager_ms"]), figure(t["graph_ms"])] for t in torch],
    )
    losses = []
    for path in sorted(folder.glob("recipe-*.txt")):
        epochs = objects(folder, path.stem)
        if epochs:
            last = epochs[-1]
            losses.append([path.stem.removeprefix("recipe-"), str(last.get("epoch")),
                           figure(last.get("train_loss")), figure(last.get("test_loss"))])
    lines += table(["recipe", "epoch", "train loss", "test loss"], losses)
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

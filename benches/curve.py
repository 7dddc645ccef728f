#!/usr/bin/env python3
"""Draws the test accuracy of run directories as SVG: benches/curve.py RUN... > curve.svg (needs nothing but Python 3)."""
import json
import pathlib
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 360, 60, 20, 130, 45
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]


def main():
    runs = []
    for path in map(pathlib.Path, sys.argv[1:]):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        runs.append((path.name, [(row["epoch"], row["test_accuracy"]) for row in rows if "epoch" in row]))
    last = max(epoch for _, points in runs for epoch, _ in points)
    low = min(accuracy for _, points in runs for _, accuracy in points)
    low = int(low * 100) / 100
    x = lambda epoch: LEFT + (epoch - 1) / max(last - 1, 1) * (WIDTH - LEFT - RIGHT)
    y = lambda accuracy: TOP + (1 - accuracy) / (1 - low) * (HEIGHT - TOP - BOTTOM)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"')
    print('  font-family="system-ui, sans-serif" font-size="13">')
    print("<style>text{fill:#333}.grid{stroke:#ccc}.line{fill:none;stroke-width:2}.bg{fill:#fff}")
    print("@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.bg{fill:#111}}</style>")
    print(f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}"/>')
    for step in range(round((1 - low) * 100) + 1):
        accuracy = low + step / 100
        print(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(accuracy):.1f}" y2="{y(accuracy):.1f}"/>')
        print(f'<text x="{LEFT - 8}" y="{y(accuracy) + 4:.1f}" text-anchor="end">{accuracy:.2f}</text>')
    for epoch in range(1, last + 1):
        print(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{epoch}</text>')
    print(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">epoch</text>')
    print(f'<text transform="rotate(-90 14 {HEIGHT / 2})" x="14" y="{HEIGHT / 2}" text-anchor="middle">test accuracy</text>')
    ends = []
    for (name, points), colour in zip(runs, COLOURS):
        path = " ".join(f"{x(epoch):.1f},{y(accuracy):.1f}" for epoch, accuracy in points)
        print(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        ends.append([y(points[-1][1]), name, colour])
    # Names stand at the lines' ends, apart enough to be read.
    above = -20
    for end, name, colour in sorted(ends):
        above = max(end, above + 16)
        print(f'<text x="{WIDTH - RIGHT + 8}" y="{above + 4:.1f}" style="fill:{colour}">{name}</text>')
    print("</svg>")


main()

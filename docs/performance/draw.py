#!/usr/bin/env python3
"""Draws growth.svg from growth.csv: how figures change as what they depend on grows. Nothing to install.

    python3 docs/performance/draw.py
"""
import csv
import math
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, COLUMNS = 270, 190, 3
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 40
STYLE = """
	.frame { fill: none; stroke: #d0d7de } .line { fill: none; stroke: #0969da; stroke-width: 2 } .dot { fill: #0969da }
	.second .line { stroke: #bf8700 } .second .dot { fill: #bf8700 } .second text { fill: #9a6700 }
	.text { fill: #1f2328; font-weight: 600 } .faint { fill: #57606a; font-size: 10px }
	@media (prefers-color-scheme: dark) {
		.frame { stroke: #30363d } .line { stroke: #58a6ff } .dot { fill: #58a6ff } .second .line { stroke: #d29922 }
		.second .dot { fill: #d29922 } .second text { fill: #d29922 } .text { fill: #e6edf3 } .faint { fill: #8b949e }
	}
"""


def short(number):
    """1500000 as 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def panel(title, rows, left, top):
    """One chart: its series share both axes; x grows by factors, y begins at 0."""
    xs = sorted({float(row["x"]) for row in rows})
    # What begins at 0 has no logarithm: it stands one factor of ten left of the rest.
    least = min((x for x in xs if x > 0), default=1)
    place = [math.log10(x) if x > 0 else math.log10(least) - 1 for x in xs]
    highest = max(float(row["y"]) for row in rows) * 1.15
    inner = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)

    def at(x, y):
        share = (place[xs.index(x)] - place[0]) / ((place[-1] - place[0]) or 1)
        return left + LEFT + share * inner[0], top + TOP + (1 - y / highest) * inner[1]

    out = [f'<text class="text" x="{left + LEFT}" y="{top + 18}">{title}</text>']
    out.append(f'<rect class="frame" x="{left + LEFT}" y="{top + TOP}" width="{inner[0]}" height="{inner[1]}"/>')
    for y in (0, highest / 1.15):
        out.append(f'<text class="faint" x="{left + LEFT - 4}" y="{at(xs[0], y)[1] + 4:.0f}" text-anchor="end">{short(y)}</text>')
    labelled = -math.inf
    for x in xs:
        if at(x, 0)[0] - labelled < 28:
            continue  # Or it would stand on the one before.
        labelled = at(x, 0)[0]
        out.append(f'<text class="faint" x="{labelled:.0f}" y="{top + HEIGHT - BOTTOM + 14}" text-anchor="middle">{short(x)}</text>')
    out.append(f'<text class="faint" x="{left + LEFT + inner[0] / 2}" y="{top + HEIGHT - 12}" text-anchor="middle">{rows[0]["what"]}</text>')
    for number, name in enumerate(dict.fromkeys(row["series"] for row in rows)):
        points = sorted((float(row["x"]), float(row["y"])) for row in rows if row["series"] == name)
        out.append(f'<g class="{"second" if number else "first"}">')
        out.append('<polyline class="line" points="' + " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in points) + '"/>')
        out += ['<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*at(x, y)) for x, y in points]
        x, y = at(*points[0])
        out.append(f'<text class="faint" x="{x + 5:.0f}" y="{y - 6 if number == 0 else y + 13:.0f}">{name}</text></g>')
    return out


def main():
    with open(HERE / "growth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    charts = list(dict.fromkeys(row["chart"] for row in rows))
    lines = math.ceil(len(charts) / COLUMNS)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * COLUMNS} {HEIGHT * lines}" role="img" '
           'aria-labelledby="t" font-family="system-ui, sans-serif" font-size="12">',
           "<title id=\"t\">" + "; ".join(charts) + "</title>", f"<style>{STYLE}</style>"]
    for number, chart in enumerate(charts):
        left, top = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        out += panel(chart, [row for row in rows if row["chart"] == chart], left, top)
    (HERE / "growth.svg").write_text("\n".join([*out, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()

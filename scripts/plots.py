#!/usr/bin/env python3
"""Draws what `cargo bench --features etcd --bench etcd -- --json FILE` has measured, or prints it as tables in Markdown.

Usage: plots.py FILE [DIR]       draws into DIR (docs/src/performance)
       plots.py --tables FILE    prints the tables of docs/src/performance.md
"""

import json
import math
import pathlib
import sys
import time
from html import escape

# What we want, as ratios to raw; of text there is no mark in a plot. A rate is better the greater it is.
GOALS = {
    "join 100000": {"time": 1.15, "memory": 1.3},
    "relist 100000": {"time": 0.4, "text": "nothing told"},
    "publish 10000, store": {"time": 1.25},
    "publish 10000, publisher": {"time": 1.25},
    "singles 50000, 1 observer": {"CPU": 1.5, "text": "0.5 switches an event"},
    "batches 300000, 1 observer": {"rate": 0.95},
    "batches 300000, 10 observers": {"rate": 0.95, "CPU": 1.3},
    "mirror 100000": {"text": "as publish"},
    "steady 10000": {"p50": 1.10, "p99": 1.3},
}
NAMES = {
    ("publish", "store"): ", store",
    ("publish", "publisher"): ", publisher",
    ("stores", "publisher"): ", publishers",
    ("steady", "store-on-the-same-thread"): ", on the same thread",
    **{(work, "store"): ", 1 observer" for work in ("singles", "batches")},
    **{(work, "store-10-observers"): ", 10 observers" for work in ("singles", "batches")},
}
TIME, RATE, CPU, SWITCHES = "time, ms", "rate, 1000/s", "CPU of each, us", "switches of each"
PEAK, P50, P99 = "peak memory, MB", "p50, us", "p99, us"
SHORT = {TIME: "time", RATE: "rate", CPU: "CPU", SWITCHES: "context switches", PEAK: "memory", P50: "p50", P99: "p99"}


def median(figures):
    return sorted(figures)[len(figures) // 2]


class Row:
    """One side of a row, and raw."""

    def __init__(self, row, side, raw, ours):
        self.label = row + NAMES.get((row.split()[0], side), "")
        self.raw, self.ours, self.goals = raw, ours, GOALS.get(self.label, {})

    def has(self, *figures):
        return all(figure in self.ours for figure in figures)

    def ratio(self, figure):
        """The least of a round, that of the medians, the greatest of a round; None if raw has nothing to compare with."""
        raw, ours = self.raw[figure], self.ours[figure]
        if not all(raw):
            return None
        rounds = [o / r for r, o in zip(raw, ours)]
        return min(rounds), median(ours) / median(raw), max(rounds)

    def spread(self, side, figure):
        figures = getattr(self, side)[figure]
        return min(figures), median(figures), max(figures)


def read(file):
    data = json.loads(pathlib.Path(file).read_text())
    raws = {side["row"]: side["figures"] for side in data["sides"] if side["side"] == "raw"}
    sides = [side for side in data["sides"] if side["side"] != "raw"]
    return data["run"], [Row(side["row"], side["side"], raws[side["row"]], side["figures"]) for side in sides]


# Tables.


def three_digits(figure):
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2 if figure >= 0.1 or not figure else 4
    return f"{figure:.{digits}f}"


def table(rows, columns):
    print("| row | " + " | ".join(title for title, _ in columns) + " | goal |")
    print("| --- |" + " --- |" * (len(columns) + 1))
    for row in rows:
        cells = []
        for _, figures in columns:
            figure = next(figure for figure in figures if row.has(figure))
            ratio = row.ratio(figure)
            cells.append("{1:.2f} ({0:.2f} to {2:.2f})".format(*ratio) if ratio else "")
        goal = [value if name == "text" else f"{name} {value:.2f}" for name, value in row.goals.items()]
        print(f"| {row.label} | " + " | ".join(cells) + f" | {', '.join(goal)} |")
    print()


def tables(run, rows):
    print(describe(run) + "\n")
    columns = [("time", (TIME, RATE)), ("CPU", (CPU,)), ("context switches", (SWITCHES,)), ("peak memory", (PEAK,))]
    table([row for row in rows if row.has(CPU, SWITCHES, PEAK)], columns)
    table([row for row in rows if row.has(P50)], [("p50", (P50,)), ("p99", (P99,)), ("CPU", (CPU,)), ("context switches", (SWITCHES,))])
    rest = [row for row in rows if not row.has(CPU, SWITCHES)]
    if rest:
        print("| row | figure | raw | ours |\n| --- | --- | --- | --- |")
    for row in rest:
        for figure in row.ours:
            spreads = [[three_digits(value) for value in row.spread(side, figure)] for side in ("raw", "ours")]
            cells = ["{1} ({0} to {2})".format(*spread) if len(set(spread)) > 1 else spread[1] for spread in spreads]
            print(f"| {row.label} | {figure} | {' | '.join(cells)} |")


def describe(run):
    when = time.strftime("%B %Y", time.gmtime(run["began"]))
    return f"{run['rounds']} rounds, {when}, {run['processors']} processors, load at the beginning {run['load']}"


# Plots.

STYLE = """<style>
.card{fill:#fff;stroke:#d5d9de}.text{fill:#24292f}.weak{fill:#5d6670}.grid{stroke:#e6e8eb}.one{stroke:#5d6670}
.raw{fill:#fff;stroke:#5d6670}.ours{fill:#1f6fc5;stroke:#1f6fc5}.bar{stroke:#1f6fc5}.rawbar{stroke:#5d6670}.goal{stroke:#c7500b}
@media (prefers-color-scheme:dark){.card{fill:#1b1f24;stroke:#3a424b}.text{fill:#e6e9ec}.weak{fill:#a3acb5}.grid{stroke:#2c333a}
.one{stroke:#a3acb5}.raw{fill:#1b1f24;stroke:#a3acb5}.ours{fill:#6cb0f5;stroke:#6cb0f5}.bar{stroke:#6cb0f5}.rawbar{stroke:#a3acb5}
.goal{stroke:#f0883e}}
</style>"""
LABELS, WIDTH, TOP, STEP = 246, 880, 76, 24
RATIOS = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16]
DECADES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000]


class Panel:
    """A column of a plot, with a logarithmic axis: of these ticks those that are needed."""

    def __init__(self, title, ticks, marks, line=None):
        # marks(row) is [(class, (least, median, greatest))] and the goal, if there is one.
        self.title, self.ticks, self.marks, self.line = title, ticks, marks, line


def draw(path, title, run, legend, rows, panels):
    bottom = TOP + STEP * len(rows)
    width = (WIDTH - LABELS - 14) / len(panels)
    out = [f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{bottom + 61}" rx="6"/>']

    def text(x, y, words, kind="text", anchor="start", size=13):
        out.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>')

    def line(kind, x1, y1, x2, y2, stroke=1):
        out.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke-width="{stroke}"/>')

    text(14, 24, title, size=15)
    text(14, bottom + 32, legend, "weak", size=12)
    text(14, bottom + 50, describe(run), "weak", size=12)
    for at, row in enumerate(rows):
        text(LABELS - 8, TOP + STEP * at + 16, row.label, anchor="end", size=13)
    for number, panel in enumerate(panels):
        left, right = LABELS + width * number + 8, LABELS + width * (number + 1) - 46
        shown = [value for row in rows for _, spread in panel.marks(row)[0] for value in spread] + [panel.line or math.inf]
        first = max([at for at, tick in enumerate(panel.ticks) if tick <= min(shown)], default=0)
        greatest = max(value for value in shown if value < math.inf)
        ticks = [tick for at, tick in enumerate(panel.ticks) if at <= first or panel.ticks[at - 1] < greatest][first:]
        low, high = ticks[0], ticks[-1]

        def x(value):
            share = math.log(min(max(value, low), high) / low) / math.log(high / low)
            return left + share * (right - left)

        text(left, 50, panel.title)
        for tick in ticks:
            line("one" if tick == panel.line else "grid", x(tick), TOP - 6, x(tick), bottom)
            text(x(tick), TOP - 10, f"{tick:g}", "weak", "middle", 12)
        for at, row in enumerate(rows):
            y = TOP + STEP * at + 12
            marks, goal = panel.marks(row)
            for kind, (least, middle, greatest) in marks:
                line("bar" if kind == "ours" else "rawbar", x(least), y, x(greatest), y, 2)
                out.append(f'<circle class="{kind}" cx="{x(middle):.1f}" cy="{y}" r="4.5" stroke-width="1.5"/>')
            if goal:
                line("goal", x(goal), y - 8, x(goal), y + 8, 3)
            if marks:
                text(right + 40, y + 4, three_digits(marks[-1][1][1]), "weak", "end", 12)
    height = bottom + 62
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    path.write_text(f'{head} font-family="system-ui,sans-serif">\n{STYLE}\n' + "\n".join(out) + "\n</svg>\n")
    print(path)


def of_raw(*figures):
    """The ratio of the first of these figures that a row has; of a rate its inverse, so that less is always better."""

    def marks(row):
        figure = next((figure for figure in figures if row.has(figure)), None)
        ratio = row.ratio(figure) if figure else None
        if not ratio:
            return [], None
        goal = row.goals.get(SHORT[figure])
        if figure == RATE:
            ratio, goal = tuple(1 / value for value in reversed(ratio)), goal and 1 / goal
        return [("ours", ratio)], goal

    return marks


def both(figure, unit=1):
    def marks(row):
        spread = lambda side: tuple(value / unit for value in row.spread(side, figure))
        return [("raw", spread("raw")), ("ours", spread("ours"))], None

    return marks


def plots(run, rows, directory):
    directory.mkdir(parents=True, exist_ok=True)
    spread = "The bar is from the least to the greatest of a round."
    of_each = [row for row in rows if row.has(CPU, SWITCHES)]
    draw(
        directory / "ratios.svg",
        "The store against etcd-client used directly: 1 is equal, less is better",
        run,
        f"{spread} The upright mark is the goal. p50 stands for the time of steady rows.",
        of_each,
        [
            Panel("time", RATIOS, of_raw(TIME, RATE, P50), 1),
            Panel("processor time", RATIOS, of_raw(CPU), 1),
        ],
    )
    legend = f"Hollow: etcd-client; full: the store, whose figure is written beside it. {spread}"
    draw(
        directory / "cpu.svg",
        "What a key or an event costs",
        run,
        legend,
        of_each,
        [
            Panel("processor time, us", DECADES, both(CPU)),
            Panel("context switches", DECADES[::2], both(SWITCHES)),
        ],
    )
    memory = [row for row in rows if row.has(PEAK)]
    draw(directory / "memory.svg", "Memory", run, legend, memory, [Panel("peak, MB", [5, 10, 20, 50, 100, 200, 500, 1000, 2000], both(PEAK))])
    delays = [row for row in rows if row.has(P50)]
    panels = [Panel(f"{name}, ms", DECADES, both(figure, 1000)) for name, figure in (("p50", P50), ("p99", P99))]
    draw(directory / "delays.svg", "From a put until an observer is told, 2000 puts a second", run, legend, delays, panels)


def main():
    words = sys.argv[1:]
    if words[:1] == ["--tables"] and len(words) == 2:
        tables(*read(words[1]))
    elif words and not words[0].startswith("-"):
        default = pathlib.Path(__file__).resolve().parent.parent / "docs/src/performance"
        plots(*read(words[0]), pathlib.Path(words[1]) if words[1:] else default)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

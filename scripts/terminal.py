#!/usr/bin/env python3
"""Runs the quickstart and draws what it prints: docs/src/terminal.svg."""

import html
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = ["cargo", "run", "-q", "--example", "quickstart"]
LINE, LEFT, TOP = 19, 18, 52


def main() -> None:
    done = subprocess.run(COMMAND, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = ["$ " + " ".join(COMMAND), *done.stdout.splitlines()]
    height = TOP + LINE * len(lines) + 8
    text = []
    for row, line in enumerate(lines):
        colour = "#8ae234" if line.startswith("$") else "#729fcf" if line.startswith("  ") else "#eeeeec"
        y = TOP + LINE * row
        text.append(f'<text x="{LEFT}" y="{y}" fill="{colour}" xml:space="preserve">{html.escape(line)}</text>')
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="monospace" font-size="14">
<rect width="760" height="{height}" rx="8" fill="#1e2226"/>
<circle cx="20" cy="18" r="6" fill="#ef5f5f"/><circle cx="40" cy="18" r="6" fill="#f5c04f"/><circle cx="60" cy="18" r="6" fill="#62c554"/>
{chr(10).join(text)}
</svg>
"""
    (ROOT / "docs/src/terminal.svg").write_text(svg)


if __name__ == "__main__":
    main()

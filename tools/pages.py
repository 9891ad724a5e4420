"""Pages that are made from what is there: the house from its imports, speed from the benchmarks, claims from the records."""

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from notebooks import NBS, ROOT, plain_table, title_and_claim

from dynbook.figures import MARKS, PAPERS, list_figures, notebooks_root

Link = Callable[[str], str]  # a path from the root -> what the page should link to
PACKAGE = ROOT / "dynbook"
FLOORS = {
    "third": ("lenses", "widgets", "cli", "observe", "figures"),
    "second": ("mechanics", "chaos", "saturation", "teleport", "collapse"),
    "ground": ("ground",),
}
BOX, GAP, HEIGHT, STEP = 132, 14, 44, 120  # pixels of the drawing


def sources() -> list[Path]:
    "The package's modules, without nbdev's index and empty files."
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "_modidx.py" and p.stat().st_size > 0]


def room(path: Path) -> str:
    "The part of the house that a module lives in."
    first = path.relative_to(PACKAGE).with_suffix("").parts[0].partition("_")[0]
    return first if any(first in rooms for rooms in FLOORS.values()) else "ground"


def imported(path: Path) -> Iterator[str]:
    "The modules below `dynbook` that a source file imports, as paths from the package."
    package = ["dynbook", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows() -> Counter:
    "How many imports lead from one room to another."
    found: Counter = Counter()
    for path in sources():
        for target in set(imported(path)):
            parts = target.split(".")
            if parts[0] == "dynbook" and len(parts) > 1:
                there = PACKAGE / parts[1] if (PACKAGE / parts[1]).is_dir() else PACKAGE / f"{parts[1]}.py"
                if there.exists():
                    found[room(path), room(there / "x.py" if there.is_dir() else there)] += 1
    return Counter({pair: n for pair, n in found.items() if pair[0] != pair[1]})


def places() -> dict[str, tuple[float, float, float]]:
    "Where each room is drawn: left, top, width."
    widest = max(len(rooms) for rooms in FLOORS.values())
    total = widest * BOX + (widest - 1) * GAP
    out = {}
    for floor, rooms in enumerate(FLOORS.values()):
        width = (total - GAP * (len(rooms) - 1)) / len(rooms)
        for i, name in enumerate(rooms):
            out[name] = (10 + i * (width + GAP), 10 + floor * STEP, width)
    return out


def house(found: Counter) -> str:
    "The house as a drawing: rooms, and an arrow for every pair of rooms of which one imports the other."
    where = places()
    width = max(left + w for left, _, w in where.values()) + 10
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {STEP * 2 + HEIGHT + 20}" role="img" aria-label="The house" font-size="13">'
    ]
    for (a, b), n in sorted(found.items()):
        if a not in where or b not in where:
            continue
        (x1, y1, w1), (x2, y2, w2) = where[a], where[b]
        if y2 - y1 != STEP:
            continue  # inside a floor, or past a floor: listed in the table below the drawing
        start = x1 + w1 / 2
        end = min(max(start, x2 + 12), x2 + w2 - 12) if w2 > 2 * BOX else x2 + w2 / 2
        thick = 0.5 + min(3.0, n / 40)
        parts.append(
            f'<line x1="{start:.0f}" y1="{y1 + HEIGHT}" x2="{end:.0f}" y2="{y2}" stroke="currentColor" '
            f'stroke-opacity="0.45" stroke-width="{thick:.1f}"><title>{a} imports {n} names of {b}</title></line>'
        )
    for name, (left, top, w) in where.items():
        label = {"ground": "ground floor: data, models, graph, curvature, training, runs, plots", "cli": "command line"}
        parts.append(
            f'<rect x="{left:.0f}" y="{top}" width="{w:.0f}" height="{HEIGHT}" rx="4" fill="#cfd8dc" stroke="#546e7a"/>'
            f'<text x="{left + w / 2:.0f}" y="{top + 27}" text-anchor="middle" fill="#222">{label.get(name, name)}</text>'
        )
    return "".join(parts) + "</svg>"


def architecture(link: Link) -> str:
    "The house, drawn from the imports of the package."
    found, lines = (
        arrows(),
        ["# The house", "", "> Three floors; an import may only point down. Drawn from the package's own imports."],
    )
    lines += [
        "",
        house(found),
        "",
        "Thicker lines are more imports; those inside the third floor, and from there down to the ground floor, are in the table alone. A chapter never imports another chapter; a test sees to it.",
        "",
    ]
    lines += ["| from | to | imported names |", "| --- | --- | ---: |"]
    lines += [f"| {a} | {b} | {n} |" for (a, b), n in sorted(found.items(), key=lambda item: -item[1])]
    for floor, rooms in FLOORS.items():
        lines += ["", f"## The {floor} floor", "", "| module | lines | what it does |", "| --- | ---: | --- |"]
        for path in (p for name in rooms for p in sources() if room(p) == name):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            claim = " ".join((ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].split()).replace(
                "|", "\\|"
            )
            claim = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", claim)
            lines.append(f"| `{name}` | {len(text.splitlines())} | {claim} |")
    return "\n".join(lines) + "\n"


def outputs(path: Path, kinds: tuple[str, ...]) -> Iterator[str]:
    "The stored outputs of a notebook in the first of some forms that each has."
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            kind = next((k for k in kinds if k in output.get("data", {})), None)
            if kind:
                yield plain_table(output.data[kind]) if kind == "text/html" else output.data[kind]


def performance(link: Link) -> str:
    "Every table of the benchmark notebooks."
    lines = [
        "# Performance",
        "",
        "> What is fast and how fast: ratios measured in one run on one machine, taken from the benchmark notebooks as they are stored.",
    ]
    for path in sorted((NBS / "benchmarks").glob("*.ipynb")):
        title, claim = title_and_claim(path)
        home = path.relative_to(ROOT).as_posix()
        lines += ["", f"## [{title}]({link(home)})", "", claim, ""]
        for text in outputs(path, ("text/markdown", "text/html")):
            if "|" in text or "<table" in text:
                lines += [text, ""]
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    "As the tables show it."
    return "–" if value is None else f"{value:.4g}"


def row(figure: str, r: dict) -> str:
    "One criterion as a row of a table."
    claim, threshold = r["claim"].replace("|", "\\|"), number(r["threshold"])
    return f"| {figure} | {claim} | {number(r['measured'])} | {r['relation']} {threshold} | {MARKS[r['holds']]} |"


def measured(link: Link) -> str:
    "Claims beside what was measured, chapter by chapter, the misses first."
    lines = [
        "# Paper and measurement",
        "",
        "> Every criterion of every figure: the value measured at small scale beside its threshold. What does not hold comes first.",
    ]
    head = ["", "| figure | claim | measured | threshold | holds |", "| --- | --- | ---: | :-: | :-: |"]
    for chapter, paper in PAPERS.items():
        rows: dict[bool, list[str]] = {False: [], True: []}
        for figure in (f for f in list_figures() if f.chapter == chapter):
            path = ROOT / "figures" / f"{figure.stem}.json"
            page = link(f"nbs/{figure.path.relative_to(notebooks_root()).as_posix()}")
            for r in json.loads(path.read_text(encoding="utf-8"))["criteria"] if path.is_file() else []:
                if r["holds"] is not None:
                    rows[r["holds"]].append(row(f"[{figure.stem}]({page})", r))
        total = len(rows[True]) + len(rows[False])
        lines += ["", f"## {paper}", "", f"{len(rows[True])} of {total} criteria hold."]
        index = NBS / chapter / "index.ipynb"
        if index.is_file():
            lines.append(
                f"Where the two differ, and why: [the chapter's front page]({link(index.relative_to(ROOT).as_posix())})."
            )
        lines += [*head, *rows[False], *rows[True]] if total else []
    return "\n".join(lines) + "\n"


def explorers(link: Link) -> str:
    "The explorers, each with a picture of it as an app."
    lines = [
        "# Explorers",
        "",
        "> One per chapter, and one of your own run through all five: move a slider, and the picture follows. In JupyterLab, or as apps: `voila nbs/widgets`.",
    ]
    for path in sorted((NBS / "widgets").glob("[a-z]*_explorer.ipynb")):
        title, claim = title_and_claim(path)
        page, picture = link(path.relative_to(ROOT).as_posix()), f"figures/explorers/{path.stem}.png"
        lines += ["", f"## [{title}]({page})", "", claim]
        if (ROOT / picture).is_file():
            lines += ["", f"[![{path.stem}]({link(picture)})]({page})"]
    return "\n".join(lines) + "\n"


PAGES: dict[str, tuple[str, Callable[[Link], str]]] = {
    "architecture.md": ("The house", architecture),
    "performance.md": ("Performance", performance),
    "measured.md": ("Paper and measurement", measured),
    "explorers.md": ("Explorers", explorers),
}

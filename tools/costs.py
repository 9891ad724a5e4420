"""Writes figures/costs.csv from a report of the whole book: `make book ARGS="--junitxml=book.xml"`, then this."""

import argparse
import csv
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from notebooks import ROOT

from dynbook.figures import list_figures


def seconds(report: Path) -> dict[str, float]:
    "Wall time of every figure notebook that passed."
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = re.fullmatch(r"test_figure\[(?:.*/)?(\w+)\.ipynb\]", case.get("name", ""))
        if name and not any(child.tag in ("failure", "error", "skipped") for child in case):
            found[name[1]] = float(case.get("time"))
    return found


def main() -> int:
    "The command line."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the file that --junitxml named")
    found = seconds(parser.parse_args().report)
    known = [figure.stem for figure in list_figures() if figure.stem in found]
    if not known:
        sys.exit("the report has no figure notebook that passed")
    with open(ROOT / "figures" / "costs.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["figure", "seconds"])
        writer.writerows([stem, f"{found[stem]:.1f}"] for stem in known)
    print(f"figures/costs.csv written: {len(known)} figures, {sum(found[s] for s in known):.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())

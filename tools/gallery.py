"""Writes figures/README.md: every figure with its criteria, measured values and thresholds, from the records beside the pictures."""

import sys

from notebooks import ROOT

from dynbook.figures import gallery


def main() -> int:
    "The command line."
    path = ROOT / "figures" / "README.md"
    path.write_text(gallery(path.parent), encoding="utf-8")
    print(f"{path.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Says how much room the installed package and its requirements take, as they lie in this environment."""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def closure(name: str) -> set[str]:
    "A distribution and all that it requires, without extras."
    found, waiting = set(), [name]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if key in found:
            continue
        try:
            needed = metadata.distribution(key).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.add(key)
        parsed = [Requirement(line) for line in needed]
        waiting += [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def megabytes(name: str) -> float:
    "Size of a distribution's files on the disk."
    files = metadata.distribution(name).files or []
    paths = [Path(str(f.locate())) for f in files]
    return sum(p.stat().st_size for p in paths if p.is_file()) / 1e6


def main() -> int:
    "The command line."
    sizes = {name: megabytes(name) for name in closure("dynbook")}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
        print(f"{size:8.1f} MB  {name}")
    print(f"{sum(sizes.values()):8.1f} MB  in all, {len(sizes)} distributions")
    return 0


if __name__ == "__main__":
    sys.exit(main())

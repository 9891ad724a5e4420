"""Writes README.md from nbs/index.ipynb; with --check it only says whether that would change anything."""

import argparse
import sys
from pathlib import Path

from notebooks import NBS, ROOT, to_markdown

PICTURES = "figures"


def generate(index: Path) -> dict[Path, bytes]:
    "README.md and the pictures that the notebook's outputs hold, as they should be."
    text, pictures = to_markdown(index, link=lambda target: target, pictures=PICTURES)
    text = f"<!-- Written by tools/readme.py from {index.relative_to(ROOT).as_posix()}. -->\n\n{text}"
    return {ROOT / "README.md": text.encode()} | {ROOT / PICTURES / name: data for name, data in pictures.items()}


def main() -> int:
    "The command line."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args().check
    stale = {
        path: data
        for path, data in generate(NBS / "index.ipynb").items()
        if not path.is_file() or path.read_bytes() != data
    }
    for path, data in stale.items():
        print(f"{path.relative_to(ROOT)} {'is out of date; run `make readme`' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

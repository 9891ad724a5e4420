"""Where things are, and how the tests start other programs. Everything is discovered; nothing is listed by name."""

import ast
import os
import shutil
import signal
import subprocess
from pathlib import Path

import nbformat

from dynbook.figures import NAME

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
PACKAGE = ROOT / "dynbook"
CHAPTERS = ("mechanics", "chaos", "saturation", "teleport", "collapse")
THIRD_FLOOR = ("cli", "figures", "widgets", "observe", "lenses", "importers", "import")
HEAVY = ("benchmarks", "widgets-heavy")


def notebooks() -> list[Path]:
    "Every notebook of the book; names that start with `_` or `.` are no part of it."
    found = (path for path in NBS.rglob("*.ipynb") if not any(p[0] in "_." for p in path.relative_to(NBS).parts))
    return sorted(found)


def is_figure(path: Path) -> bool:
    "Whether the notebook draws a figure or a table of a paper."
    return NAME.fullmatch(path.stem) is not None


def figure_notebooks() -> list[Path]:
    "The notebooks of ring 2."
    return [path for path in notebooks() if is_figure(path)]


def parameter_files() -> list[Path]:
    "The parameter files of figures: the paper's own numbers, or its data at a smaller size."
    return sorted([*NBS.rglob("paper/*.yaml"), *NBS.rglob("real/*.yaml")])


def library_notebooks() -> list[Path]:
    "The notebooks of ring 1: all that draw no figure and are not too heavy for it."
    return [path for path in notebooks() if not is_figure(path) and path.relative_to(NBS).parts[0] not in HEAVY]


def name(path: Path) -> str:
    "A path as the reports show it."
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> nbformat.NotebookNode:
    "A notebook as nbformat's nodes."
    return nbformat.read(path, as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    "The tags of a cell."
    return cell.metadata.get("tags", [])


def modules() -> list[Path]:
    "The package's source files, without nbdev's index."
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_modidx.py")


def syntax(path: Path) -> ast.Module:
    "A source file as a syntax tree."
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def copy_checkout(target: Path) -> Path:
    "Copies what git tracks, and what it would track, to `target`."
    listing = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for entry in filter(None, listing.stdout.split("\0")):
        source = ROOT / entry
        if source.is_file():
            (target / entry).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / entry)
    return target


def online() -> dict[str, str]:
    "The environment of this process without the tests' block of the network."
    env = dict(os.environ)
    env.pop("PYTHONPATH", None)
    return env


def run(
    command: list,  # the program and its arguments
    timeout: float,  # seconds until it and its children are killed
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,  # the whole environment; this process's own if none is given
) -> subprocess.CompletedProcess:  # stdout and stderr are one text, in `stdout`
    "Run a program in a process group of its own; fail with its last lines if the time is up."
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise AssertionError(f"not finished after {timeout:.0f} s; its last lines:\n{tail(output)}") from None
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, "")


def tail(text: str, lines: int = 60) -> str:
    "The last lines of a text."
    return "\n".join(text.splitlines()[-lines:])

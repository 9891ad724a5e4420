"""`import dynbook` costs next to nothing, and the command line answers without torch; a bar stays out of pipes."""

import re
import subprocess
import sys
from pathlib import Path

from project import ROOT, run

HEAVY = {
    "torch",
    "numpy",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "torchvision",
    "IPython",
    "nbformat",
    "papermill",
}


def imports(code: str) -> dict[str, int]:
    "What a program imports: top-level name -> microseconds spent in its modules, without what they import themselves."
    done = run([sys.executable, "-X", "importtime", "-c", code], timeout=120)
    assert done.returncode == 0, done.stdout
    found: dict[str, int] = {}
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stdout):
        found[name.split(".")[0]] = found.get(name.split(".")[0], 0) + int(own)
    return found


def test_importing_dynbook_takes_less_than_50_ms() -> None:
    "Of modules that Python has not loaded anyway, and without torch or anything else of weight."
    bare = imports("pass")
    trials = [imports("import dynbook") for _ in range(3)]
    assert not HEAVY & set(trials[0])
    assert min(sum(us for name, us in t.items() if name not in bare) for t in trials) < 50_000


def test_beside_torch_dynbook_adds_only_itself() -> None:
    bare, both = imports("import torch"), imports("import torch, dynbook")
    assert set(both) - set(bare) == {"dynbook"} and both["dynbook"] < 50_000


def test_help_and_completion_of_commands_need_no_torch() -> None:
    code = "from dynbook.cli import make_parser; make_parser().format_help(); import sys; print(sorted(sys.modules))"
    found = imports(code)
    assert not (HEAVY - {"IPython"}) & set(found), sorted(HEAVY & set(found))


def test_a_pipe_that_is_closed_early_is_no_error() -> None:
    command = f"{sys.executable} -c 'import sys; from dynbook.cli import main; sys.exit(main([\"models\"]))'"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 1, "")


def test_a_bar_stays_out_of_pipes(tmp_path: Path) -> None:
    words = ["report", "mlp", "digits", "--epochs", "1", "--n-train", "100", "-n", "50", "--lens", "chaos"]
    code = f"import sys; from dynbook.cli import main; sys.exit(main({[*words, '-o', str(tmp_path / 'page.html')]}))"
    done = run([sys.executable, "-c", code], timeout=120)
    assert done.returncode == 0 and "\r" not in done.stdout and done.stdout.startswith("page: "), done.stdout

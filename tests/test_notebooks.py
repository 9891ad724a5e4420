"""Ring 1: each library notebook in a fresh process, as nbdev runs it, inside a time budget."""

import sys
import time
import warnings
from pathlib import Path

import pytest
from project import NBS, ROOT, library_notebooks, name, run, tail

HARD, SOFT = 120, 30  # seconds: the test fails, the summary warns

RUN = """
import sys
from nbdev.config import get_config
from nbdev.test import test_nb
config = get_config()
flags = config.tst_flags
passed, _ = test_nb(sys.argv[1], skip_flags=flags.split() if isinstance(flags, str) else flags, basepath=config.config_path)
sys.exit(0 if passed else 1)
"""


@pytest.mark.parametrize("path", library_notebooks(), ids=name)
def test_notebook(path: Path) -> None:
    start = time.perf_counter()
    done = run([sys.executable, "-c", RUN, path], timeout=HARD, cwd=NBS)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, f"{name(path)} failed:\n{tail(done.stdout)}"
    if seconds > SOFT:
        warnings.warn(f"{path.relative_to(ROOT)} took {seconds:.0f} s; the budget is {SOFT} s", stacklevel=1)


def test_a_failing_cell_is_reported(tmp_path: Path) -> None:
    "The runner itself: a wrong assertion must end in exit 1 and show the cell."
    broken = tmp_path / "broken.ipynb"
    broken.write_text(
        '{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null, "outputs": [],'
        ' "source": ["answer = 6 * 7\\n", "assert answer == 43, \\"six times seven\\""]}],'
        ' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    done = run([sys.executable, "-c", RUN, broken], timeout=HARD, cwd=NBS)
    assert done.returncode == 1
    assert "assert answer == 43" in done.stdout and "six times seven" in done.stdout

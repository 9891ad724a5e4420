"""Ring 1: each library notebook in a fresh process, as nbdev runs it, inside a time budget."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import NBS, ROOT, library_notebooks, name, tail

HARD, SOFT = 120, 30  # seconds: the test fails, the summary warns


class Zygote:
    "Runs notebooks in fresh processes that are forked from one with torch and its friends imported: seconds less for each."

    def __init__(self):
        program = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=NBS)

    def run(self, path: Path, log: Path, timeout: float) -> int:
        "Exit code of the child; a negative number if a signal ended it, here after `timeout` seconds."
        self.process.stdin.write(json.dumps({"path": str(path), "log": str(log)}) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        timer = threading.Timer(timeout, os.killpg, (pid, signal.SIGKILL))
        timer.start()
        try:
            return int(self.process.stdout.readline())
        finally:
            timer.cancel()

    def close(self) -> None:
        "End it."
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.mark.parametrize("path", library_notebooks(), ids=name)
def test_notebook(path: Path, zygote: Zygote, tmp_path: Path) -> None:
    start = time.perf_counter()
    code = zygote.run(path, tmp_path / "log", HARD)
    seconds = time.perf_counter() - start
    assert code == 0, f"{name(path)} failed ({code}):\n{tail((tmp_path / 'log').read_text(encoding='utf-8'))}"
    if seconds > SOFT:
        warnings.warn(f"{path.relative_to(ROOT)} took {seconds:.0f} s; the budget is {SOFT} s", stacklevel=1)


def test_a_failing_cell_is_reported(zygote: Zygote, tmp_path: Path) -> None:
    "The runner itself: a wrong assertion must end in exit 1 and show the cell."
    broken = tmp_path / "broken.ipynb"
    broken.write_text(
        '{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null, "outputs": [],'
        ' "source": ["answer = 6 * 7\\n", "assert answer == 43, \\"six times seven\\""]}],'
        ' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    code = zygote.run(broken, tmp_path / "log", HARD)
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert code == 1 and "assert answer == 43" in said and "six times seven" in said


def test_a_notebook_that_hangs_is_ended(zygote: Zygote, tmp_path: Path) -> None:
    "The runner itself: after its time a notebook is killed with its children, and the next one runs."
    cell = '{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null, "outputs": [], "source": ["%s"]}],'
    for name_, source in (("hangs", "import time; time.sleep(600)"), ("fine", "pass")):
        (tmp_path / f"{name_}.ipynb").write_text(cell % source + ' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    assert zygote.run(tmp_path / "hangs.ipynb", tmp_path / "log", 5) == -signal.SIGKILL
    assert zygote.run(tmp_path / "fine.ipynb", tmp_path / "log", HARD) == 0

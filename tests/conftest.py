"""All tests run offline and on one thread per process; the runs behind the figures are shared within one call of pytest."""

import os
import shutil
import sys
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parent / "offline"
sys.path.insert(0, str(OFFLINE))

import no_network  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    "Block the network here and in every subprocess, and name the folder of its cached runs."
    no_network.install()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")]))
    os.environ["OMP_NUM_THREADS"] = "1"
    if "DYNBOOK_RUNS" not in os.environ:  # set by the controller, inherited by its workers
        config.shared_runs = Path(config.cache.mkdir("runs")) / str(os.getpid())
        os.environ["DYNBOOK_RUNS"] = str(config.shared_runs)


def pytest_unconfigure(config: pytest.Config) -> None:
    "Forget those runs: a result cached by older code must not pass for a new one."
    if runs := getattr(config, "shared_runs", None):
        shutil.rmtree(runs, ignore_errors=True)
        os.environ.pop("DYNBOOK_RUNS", None)

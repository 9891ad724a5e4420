"""`make cluster`: a grid of runs on a real Slurm; one job is killed, another is sent back to the queue, and the table is that of this process."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, shell, until
from project import ROOT, run, tail

pytestmark = pytest.mark.cluster
GRID = """
    import os
    import sys
    from dataclasses import dataclass
    from pathlib import Path

    import pandas as pd
    import torch
    from dynbook.config import option
    from dynbook.data import load_dataset
    from dynbook.engines import Here, sweep
    from dynbook.fitting import fit
    from dynbook.config import Config
    from dynbook.models import create_model
    from dynbook.optimisers import Optimiser
    from dynbook.slurm import Slurm
    from dynbook.training import Learner


    @dataclass(frozen=True)
    class Small(Config):
        lr: float = option(0.1, "learning rate", gt=0)
        seed: int = option(0, "seed", ge=0)


    def train_small(config, run):
        import time

        data = load_dataset("digits", n_train=200)
        learner = Learner(create_model("mlp", widths=(16,), seed=config.seed), Optimiser(lr=config.lr, momentum=0.9))
        slow = (config.lr, config.seed) in ((0.1, 0), (0.1, 1)) and "SLURM_JOB_ID" in os.environ and run.checkpoints.latest() is None
        return fit(learner, data.train, data.val, epochs=8, seeds=config.seed, store=run.checkpoints, after_step=lambda step: time.sleep(1.5 * slow))


    grid = [Small(lr, seed) for lr in (0.1, 0.03, 0.01) for seed in range(4)]
    if __name__ == "__main__":
        where, root = sys.argv[1:]
        engine = Here() if where == "here" else Slurm(minutes=5, cpus=1, folder=str(Path(root).parent / "logs"), poll=0.5)
        table, outcomes = sweep(grid, train_small, engine, root)
        table.to_csv(Path(root).parent / f"{where}.csv", index=False)
        print([o.status for o in outcomes], [o.message for o in outcomes if not o])
"""


def kill_job(name: str) -> int:
    "Kill -9 all processes of an array's job; how many there were."
    array, _, task = name.partition("_")
    marks = {f"SLURM_ARRAY_JOB_ID={array}".encode(), f"SLURM_ARRAY_TASK_ID={task}".encode()}
    killed = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                marks <= set((folder / "environ").read_bytes().split(b"\0"))
                and b"submitit" in (folder / "cmdline").read_bytes()
            ):
                os.kill(int(folder.name), signal.SIGKILL)
                killed += 1
    return killed


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        made.stop()


def test_a_grid_survives_a_kill_and_a_requeue(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "small_grid.py").write_text(textwrap.dedent(GRID))
    program = [sys.executable, tmp_path / "small_grid.py"]
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        OMP_NUM_THREADS="1",
    )
    here = run([*program, "here", tmp_path / "here"], timeout=300, cwd=tmp_path, env=env)
    assert here.returncode == 0, tail(here.stdout)
    with (tmp_path / "client.log").open("w") as log:
        client = subprocess.Popen(
            [*program, "slurm", tmp_path / "there"], cwd=tmp_path, env=env, stdout=log, stderr=log
        )
    checkpoints = lambda: {p.parent.parent for p in (tmp_path / "there").glob("**/checkpoints/step-*.json")}  # noqa: E731
    running = lambda: shell("squeue", "-h", "-r", "-t", "R", "-o", "%i").stdout.split()  # noqa: E731
    until(lambda: len(checkpoints()) >= 2 and len(running()) >= 2, "two jobs with a checkpoint", 180)
    first, second = sorted(running())[:2]
    assert kill_job(first) > 0
    shell(
        "scancel", "--signal=USR2", second, check=False
    )  # it may complain that the batch script cannot be altered; the step gets the signal
    client.wait(timeout=300)
    said = (tmp_path / "client.log").read_text()
    assert client.returncode == 0 and said.count("'finished'") == 12, tail(said)
    assert (tmp_path / "slurm.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    history = shell("sacct", "-n", "-X", "-P", "-D", "-o", "JobID,State").stdout
    assert "FAILED" in history and ("REQUEUED" in history or "PREEMPTED" in history), history

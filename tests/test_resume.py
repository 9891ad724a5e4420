"""A run that is killed again and again ends with the numbers of one that was left alone; two processes never share a run."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from project import tail

STEPS, SAVE_EVERY, KILLS, SECONDS = 24, 3, 5, 60

SCRIPT = """
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dynbook.config import Config, option
from dynbook.data import Split
from dynbook.fitting import fit
from dynbook.images import random_crop
from dynbook.optimisers import Optimiser, Plateau, Schedule
from dynbook.locks import Locked
from dynbook.runs import run_or_load, write_tensors
from dynbook.training import Ensemble, Learner


@dataclass(frozen=True)
class Small(Config):
    kind: str = option("single", "what is trained", choices=("single", "ensemble"))


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 4)
    )


def splits():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(160, 1, 6, 6, generator=generator), torch.arange(160) % 4
    return Split(x[:120], y[:120], augment=random_crop), Split(x[120:], y[120:])


def work(config, run):
    train, val = splits()
    sgd = Optimiser("sgd", lr=0.1, momentum=0.9, weight_decay=1e-3)
    single = config.kind == "single"
    learner = Learner(network(0), sgd, seed=3) if single else Ensemble([network(i) for i in range(3)], sgd, seed=3)

    def say(step):
        print("step", step.step, flush=True)
        while step.step >= int(wait_at) and not Path(release).exists():
            time.sleep(0.02)

    table = fit(
        learner, train, val, epochs=3, batch_size=16, seeds=5 if single else [5, 6, 5], schedule=Schedule("one_cycle"),
        plateau=Plateau(learner.n, patience=0), store=run.checkpoints, save_every=3, after_step=say,
    )
    write_tensors(run.folder / "weights.safetensors", learner.state())
    return table


kind, root, wait_at, release = sys.argv[1:]
try:
    run_or_load(Small(kind), work, root)
except Locked as locked:
    sys.exit(f"Locked: {locked}")
print("done", flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    "The training program; the tests say when it stops and waits."
    path = tmp_path / "program.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@contextmanager
def started(script: Path, kind: str, root: Path, wait_at: int = STEPS + 1) -> Iterator[subprocess.Popen]:
    "The program as a process, which is killed at the latest when the block ends; it waits after a step if asked to."
    command = [sys.executable, script, kind, root, str(wait_at), script.with_name("release")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen) -> list[int]:
    "Wait for a successful end; the steps that were taken."
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0 and output.endswith("done\n"), tail(output)
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("step")]


def kill_after(process: subprocess.Popen, last: int) -> list[int]:
    "Send SIGKILL as soon as a step is announced; the steps that were seen until then."
    seen = []
    for line in process.stdout:
        assert line.startswith("step"), line + tail(process.stdout.read())
        seen.append(int(line.split()[1]))
        if seen[-1] >= last:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait(SECONDS) == -signal.SIGKILL
    return seen


def folder(root: Path) -> Path:
    "The folder of the only run there is."
    (found,) = (path for path in root.glob("small/*") if path.is_dir())
    return found


def table(root: Path) -> dict[str, list[str]]:
    "The columns of the run's table, as text: every digit counts."
    with open(folder(root) / "table.csv", encoding="utf-8") as file:
        columns = list(zip(*csv.reader(file)))
    return {name: values for name, *values in columns}


def weights(root: Path) -> bytes:
    "The final state: weights, buffers, momentum, counters."
    return (folder(root) / "weights.safetensors").read_bytes()


def checkpoints(root: Path) -> list[Path]:
    "Complete checkpoints, oldest first."
    notes = sorted(folder(root).glob("checkpoints/step-*.json"))
    return [note.with_suffix(".safetensors") for note in notes]


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize("kind", ["single", "ensemble"])
def test_killed_runs_end_with_the_same_numbers(kind: str, script: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with started(script, kind, whole) as process:
        assert finish(process) == list(range(1, STEPS + 1))
    choose, begun = random.Random(kind), 0
    targets = sorted(choose.sample(range(2, STEPS - 1), KILLS))
    truncated = choose.randrange(2, KILLS)
    for k, target in enumerate(targets):
        with started(script, kind, broken) as process:
            seen = kill_after(process, max(target, begun + 1))
        assert seen[0] == begun + 1, f"kill {k}: resumed with step {seen[0]}, the newest checkpoint was {begun}"
        kept = checkpoints(broken)
        if k == truncated:
            assert len(kept) == 2
            kept[-1].write_bytes(kept[-1].read_bytes()[: kept[-1].stat().st_size // 2])
            kept.pop()
        begun = json.loads(kept[-1].with_suffix(".json").read_text())["step"] if kept else 0
        assert begun % SAVE_EVERY == 0
    with started(script, kind, broken) as process:
        assert finish(process) == list(range(begun + 1, STEPS + 1))
    assert table(broken) == table(whole) and len(table(whole)["epoch"]) == 4 * (1 if kind == "single" else 3)
    assert weights(broken) == weights(whole)
    assert not (folder(broken) / "checkpoints").exists() and not (folder(broken) / "lock.json").exists()


@pytest.mark.timeout(2 * SECONDS)
def test_of_two_processes_one_trains(script: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with started(script, "single", root, wait_at=4) as first:
        while "step 4" not in first.stdout.readline():
            assert first.poll() is None
        with started(script, "single", root) as second:
            output, _ = second.communicate(timeout=SECONDS)
        assert second.returncode == 1 and output.startswith("Locked") and f"process {first.pid}" in output, tail(output)
        assert not (folder(root) / "run.json").exists() and first.poll() is None
        script.with_name("release").touch()
        assert finish(first) == list(range(5, STEPS + 1))
    started_at = time.time()
    with started(script, "single", root) as third:
        assert finish(third) == []
    assert (folder(root) / "table.csv").stat().st_mtime < started_at

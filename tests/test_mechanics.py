"""The matrix of data and networks: every cell trains, extracts and plots. Annealed runs survive being killed."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from project import NBS, ROOT, name, run, tail

from dynbook.config import from_dict
from dynbook.mechanics.charge_runs import ChargeRun, build_network
from dynbook.mechanics.pipeline import cache_stage, train_stage
from dynbook.mechanics.symmetries import find_symmetries, summary
from dynbook.runs import read_table

CELLS = sorted((NBS / "mechanics" / "paper").glob("mechanics_matrix_*.yaml"))
SHAPES = {"mnist": (1, 28, 10), "cifar10": (3, 32, 10), "cifar100": (3, 32, 100)}
SHAPES |= {"tiny_imagenet": (3, 64, 200), "imagenet": (3, 224, 1000)}


class Shape:
    "What a network must know of its data."

    def __init__(self, dataset: str):
        channels, size, self.n_classes = SHAPES[dataset]
        self.input_shape = (channels, size, size)


def read(path: Path) -> ChargeRun:
    return from_dict(ChargeRun, yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", CELLS, ids=name)
def test_a_cell_has_charges(path: Path) -> None:
    config = replace(read(path), device="cpu")
    data = Shape(config.dataset)
    found = summary(find_symmetries(build_network(config, data), torch.randn(1, *data.input_shape)))
    normalised = config.model.endswith("_bn") or config.model in ("mechanics_resnet18", "resnet50")
    assert found["translation"] > 0 and (found["scale"] > 0) == normalised
    assert config.save_every % config.every == 0 and config.steps >= config.save_every


def test_a_cell_cut_short_trains_and_agrees_with_theory(tmp_path: Path) -> None:
    cell = next(p for p in CELLS if p.stem.endswith("mnist_conv"))
    config = replace(read(cell), device="cpu", dataset="digits", steps=20, every=5, save_every=10)
    train_stage(config, tmp_path / "run")
    table = read_table(cache_stage(tmp_path / "run", ["rescale"], law="discrete")[0])
    assert set(table.step) == {0, 10, 20}
    assert (table.theory - table.measured).abs().max() < 1e-4 * table.measured.abs().max()


@pytest.mark.figures
def test_figure_5_runs_with_the_paper_s_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "VGG-16 with and without normalisation from the parameter file, cut to two steps on small images."
    monkeypatch.setenv("DYNBOOK_RUNS", str(tmp_path / "runs"))
    short = dict(dataset="digits", size=32, n_train=64, steps=2, every=1, batch_size=8, save_every=1, device="cpu")
    words = [str(word) for key, value in short.items() for word in ("-p", key, value)]
    folder = NBS / "mechanics"
    files = [folder / "mechanics_fig05.ipynb", tmp_path / "out.ipynb", "-f", folder / "paper" / "mechanics_fig05.yaml"]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3", *files, *words]
    done = run([*command, "-y", "{weight_decay: [0.001]}", "-p", "out_dir", tmp_path], timeout=600, cwd=ROOT)
    assert done.returncode == 0, tail(done.stdout)
    assert "unknown parameter" not in done.stdout and (tmp_path / "mechanics_fig05.png").exists()


ANNEALED = """
import os
import signal
import sys

from dynbook.mechanics.annealing import Annealed, record_annealed
from dynbook.runs import Checkpoints, run_or_load

root, kill_at, before = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "before"
save = Checkpoints.save


def deadly(self, step, tensors, meta):
    if before and step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, step, tensors, meta)
    if step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


Checkpoints.save = deadly
run_or_load(Annealed(phases=3, batch_size=64, lr=0.05, n_train=256, save_every=3, every=2), record_annealed, root)
"""


@pytest.mark.timeout(400)
def test_a_killed_annealed_run_ends_with_the_same_numbers(tmp_path: Path) -> None:
    "4 + 2 + 1 steps in three phases, killed within the first, before its end is kept, and between two."

    def start(root: str, kill_at: int = 0, when: str = "after") -> int:
        command = [sys.executable, "-c", ANNEALED, str(tmp_path / root), str(kill_at), when]
        return subprocess.run(command, capture_output=True, timeout=200).returncode

    assert start("whole") == 0
    assert [start("broken", *kill) for kill in ((4, "before"), (6, "after"))] == 2 * [-signal.SIGKILL]
    assert start("broken") == 0
    names = ["table.csv", *(f"phase-{i}.safetensors" for i in range(3))]
    whole, broken = (
        {name: next((tmp_path / root).glob(f"annealed/*/{name}")).read_bytes() for name in names}
        for root in ("whole", "broken")
    )
    assert whole == broken

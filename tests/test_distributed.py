"""Data-parallel training under a real `torchrun` with two ranks, against one process."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from project import ROOT, tail
from safetensors.torch import load_file

SCRIPT = """
    import sys
    from dataclasses import dataclass
    from pathlib import Path

    import torch
    import dynbook
    from dynbook.config import Config, option
    from dynbook.data import load_dataset
    from dynbook.distributed import ShardedLearner, merge_moments, ranks, run_together
    from dynbook.fitting import fit
    from dynbook.models import create_model
    from dynbook.moments import ClassMoments, Moments
    from dynbook.optimisers import Optimiser
    from dynbook.runs import write_tensors

    @dataclass(frozen=True)
    class Shared(Config):
        lr: float = option(0.1, "learning rate", gt=0)

    out, how = Path(sys.argv[1]), sys.argv[2]
    with ranks() as group:

        def train(config, run, store):
            data = load_dataset("digits", n_train=205)
            learner = ShardedLearner(create_model("mlp", widths=(16,), seed=0).double(), Optimiser(lr=config.lr, momentum=0.9), ranks=group)
            stop = (lambda epoch: sys.exit(3) if epoch == 2 else None) if how == "breaks" else None
            table = fit(learner, data.train, data.val, epochs=3, batch_size=31, store=store, before_epoch=stop)
            if group.first:
                write_tensors(out / "weights.safetensors", dict(learner.model.state_dict()))
            return table

        table = run_together(Shared(), train, group, out / "runs")
        x = torch.randn(101, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        y, mine = torch.arange(101) % 4, group.rows(101)
        found = {}
        for name, kind in (("full", Moments("full")), ("trace", Moments("trace"))):
            found[name] = merge_moments(kind.update(x[mine]), group)
        for scatter in ("trace", "pooled", "full"):
            found[f"class {scatter}"] = merge_moments(ClassMoments(4, scatter).update(x[mine], y[mine]), group)
        empty = Moments() if group.rank else Moments().update(x)
        found["one empty"] = merge_moments(empty, group)
        state = {f"{k} {part}": torch.as_tensor(getattr(m, part)) for k, m in found.items() for part in ("n", "mean", "s")}
        write_tensors(out / f"moments{group.rank}.safetensors", state)
        if group.first:
            table.to_csv(out / "table.csv", index=False)
"""


def launch(tmp_path: Path, name: str, n: int, how: str = "whole") -> subprocess.CompletedProcess:
    "The script under torchrun."
    (tmp_path / "shared_run.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / name).mkdir(exist_ok=True)
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}"]
    env = dict(
        os.environ, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    )
    command = [*program, str(tmp_path / "shared_run.py"), str(tmp_path / name), how]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "One process."
    folder = tmp_path_factory.mktemp("alone")
    done = launch(folder, "one", 1)
    assert done.returncode == 0, tail(done.stderr)
    return folder / "one"


def close(a: Path, b: Path, tolerance: float = 1e-12) -> bool:
    "Whether two files hold the same tensors up to rounding."
    one, other = load_file(a), load_file(b)
    assert one.keys() == other.keys()
    return all(torch.allclose(v.double(), other[k].double(), rtol=tolerance, atol=tolerance) for k, v in one.items())


def test_two_ranks_are_one_process(alone: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "two", 2)
    assert done.returncode == 0, tail(done.stderr)
    assert close(alone / "weights.safetensors", tmp_path / "two" / "weights.safetensors")
    for rank in (0, 1):
        assert close(alone / "moments0.safetensors", tmp_path / "two" / f"moments{rank}.safetensors")
    read = lambda path: [line.split(",") for line in path.read_text().splitlines()]  # noqa: E731
    ours, theirs = read(alone / "table.csv"), read(tmp_path / "two" / "table.csv")
    assert ours[0] == theirs[0] and len(ours) == len(theirs) == 5
    for a, b in zip(ours[1:], theirs[1:]):
        assert [float(v or "nan") for v in a] == pytest.approx([float(v or "nan") for v in b], rel=1e-12, nan_ok=True)


def test_ranks_resume_together(alone: Path, tmp_path: Path) -> None:
    assert launch(tmp_path, "resumed", 2, "breaks").returncode != 0
    assert not list((tmp_path / "resumed" / "runs").glob("*/*/run.json"))
    assert list((tmp_path / "resumed" / "runs").glob("*/*/checkpoints/step-*.json"))
    done = launch(tmp_path, "resumed", 2)
    assert done.returncode == 0, tail(done.stderr)
    assert close(alone / "weights.safetensors", tmp_path / "resumed" / "weights.safetensors")

"""Ring 2: each figure notebook through papermill, strict, from a cold cache; the runs are shared between notebooks."""

import json
import sys
from pathlib import Path

import matplotlib.image
import pytest
from project import NBS, ROOT, copy_checkout, figure_notebooks, name, read, run, tags, tail

SECONDS = 600  # a notebook's budget is two minutes on an idle machine; this one ends a hang


def execute(path: Path, out_dir: Path, output: Path, cwd: Path = ROOT, **parameters: object) -> None:
    "Run one notebook through papermill's command line, and expect success without a complaint."
    given = [word for key, value in parameters.items() for word in ("-p", key, value)]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3", path, output]
    done = run([*command, "-p", "out_dir", out_dir, *given], timeout=SECONDS, cwd=cwd)
    assert done.returncode == 0, f"{path.name} failed:\n{tail(done.stdout)}"
    for complaint in ("unknown parameter", "does not contain a cell with tag"):
        assert complaint not in done.stdout, f"papermill complained:\n{tail(done.stdout)}"


def written(out_dir: Path, suffix: str) -> list[Path]:
    "The files of one kind that a figure left."
    return sorted(path for path in out_dir.rglob(f"*{suffix}") if path.stat().st_size > 0)


def values(tree: object, key: str) -> list:
    "All values that stand under `key` anywhere in parsed JSON, alone or in a list."
    if isinstance(tree, dict):
        here = [tree[key]] if key in tree else []
        here = here[0] if here and isinstance(here[0], list) else here
        return here + [found for child in tree.values() for found in values(child, key)]
    return [found for child in tree for found in values(child, key)] if isinstance(tree, list) else []


def cases() -> list:
    "The quick start belongs to every test run, the others to ring 2."
    slow = pytest.mark.figures
    return [pytest.param(p, id=name(p), marks=() if p == NBS / "fig6.ipynb" else slow) for p in figure_notebooks()]


@pytest.mark.parametrize("path", cases())
def test_figure(path: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "figures"
    execute(path, out_dir, tmp_path / "out.ipynb", strict=True)
    pictures = written(out_dir, ".png")
    assert pictures and written(out_dir, ".csv"), f"{name(path)} left {sorted(p.name for p in out_dir.rglob('*'))}"
    for picture in pictures:
        assert matplotlib.image.imread(picture)[..., :3].std() > 0.01, f"{picture.name} is blank"
    records = written(out_dir, ".json")
    assert records, f"{name(path)} left no record of its run"
    for record in records:
        json.loads(record.read_text(encoding="utf-8"))


def test_a_parameter_reaches_the_run_after_cleaning(tmp_path: Path) -> None:
    "Cleaning that dropped the `parameters` tag would make papermill ignore `-p` with exit 0."
    checkout = copy_checkout(tmp_path / "checkout")
    run([Path(sys.executable).with_name("nbdev-clean")], timeout=60, cwd=checkout)
    output, out_dir = tmp_path / "out.ipynb", tmp_path / "figures"
    execute(checkout / "nbs" / "fig6.ipynb", out_dir, output, cwd=checkout, lr=0.123, n_seeds=2)
    order = [tag for cell in read(output).cells for tag in tags(cell) if tag in ("parameters", "injected-parameters")]
    assert order == ["parameters", "injected-parameters"]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in written(out_dir, ".json")]
    assert records and all(0.123 in values(record, "lr") for record in records)


def test_there_is_a_quick_start() -> None:
    assert NBS / "fig6.ipynb" in figure_notebooks()

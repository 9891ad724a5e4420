"""A figure notebook's parameters are those of its configuration, and its paper-scale file fits both."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path

import papermill
import pytest
import yaml
from project import NBS, ROOT, figure_notebooks, name, parameter_files, read, run, tail

from dynbook.config import Config, from_dict
from dynbook.figures import FigureNotebook

OWN = {"strict": False, "out_dir": "", "force": False}  # the notebook's, not the configuration's


def configuration(path: Path) -> type[Config]:
    "The class that a notebook hands to `read_params`."
    source = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    used = re.search(r"read_params\(globals\(\), (\w+)", source)
    assert used, f"{path.name} does not read its parameters with read_params"
    home = re.search(rf"^from (\S+) import [^\n]*\b{used[1]}\b", source, flags=re.MULTILINE)
    assert home, f"{path.name} does not import {used[1]}"
    return getattr(importlib.import_module(home[1]), used[1])


@pytest.mark.parametrize("path", figure_notebooks(), ids=name)
def test_parameters_and_defaults_are_the_configuration_s(path: Path) -> None:
    cls, given = configuration(path), {n: default for n, _, default, _ in FigureNotebook(path).parameters()}
    assert {n: given.pop(n) for n in OWN if n in given} == OWN
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    assert set(given) <= set(defaults)
    config = from_dict(cls, given)
    assert {n: getattr(config, n) for n in given} == {n: defaults[n] for n in given}
    assert all(help for _, _, _, help in FigureNotebook(path).parameters()), "a parameter without a comment"
    inferred = papermill.inspect_notebook(str(path))
    assert {n for n, *_ in FigureNotebook(path).parameters()} == set(inferred), "papermill does not see all parameters"
    assert all(p["inferred_type_name"] != "None" and p["help"] for p in inferred.values())


@pytest.mark.parametrize("path", parameter_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_parameter_file_fits_its_notebook(path: Path) -> None:
    notebook = path.parent.parent / f"{path.stem}.ipynb"
    if not notebook.exists():
        assert "matrix" in path.read_text(encoding="utf-8").splitlines()[0].lower(), (
            "neither a figure's nor a matrix file"
        )
        return
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {n for n, *_ in FigureNotebook(notebook).parameters()}
    assert set(values) <= known, f"papermill would warn about {sorted(set(values) - known)}"
    from_dict(configuration(notebook), values)


@pytest.mark.figures
def test_the_paper_s_scale_runs(tmp_path: Path) -> None:
    "The paper's four networks, in worker processes, cut to one batch."
    short = dict(
        dataset="digits",
        val="holdout",
        size=32,
        n_train=64,
        epochs=1,
        max_batches=1,
        n_seeds=1,
        lr=0.01,
        momentum=0.9,
        batch_size=8,
        device="cpu",
    )
    words = [str(word) for key, value in short.items() for word in ("-p", key, value)]
    folder = NBS / "teleport"
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        "-k",
        "python3",
        folder / "teleport_fig06.ipynb",
        tmp_path / "out.ipynb",
    ]
    done = run(
        [*command, "-f", folder / "paper" / "teleport_fig06.yaml", *words, "-p", "out_dir", tmp_path],
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 0, tail(done.stdout)
    assert "unknown parameter" not in done.stdout and (tmp_path / "teleport_fig06.png").exists()

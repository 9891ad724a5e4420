"""Ring 3: the wheel, installed into an empty environment and used from an empty folder."""

import os
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import no_network
import pytest
from project import NBS, ROOT, copy_checkout, figure_notebooks, modules, notebooks, online, parameter_files, run, tail

pytestmark = pytest.mark.real
INSTALL_SECONDS = 1200


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The wheel, built from a copy, so that the checkout stays as it is."
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = run(command, timeout=300, cwd=checkout, env=online())
    assert done.returncode == 0, tail(done.stdout)
    [built] = (checkout / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    "The `bin` of an empty environment that holds the wheel and its requirements, and what programs there should see."
    venv = tmp_path_factory.mktemp("environment") / "v"
    assert run([sys.executable, "-m", "venv", venv], timeout=120).returncode == 0
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel]
    done = run(pip, timeout=INSTALL_SECONDS, cwd=venv, env=online())
    assert done.returncode == 0, tail(done.stdout)
    block = str(Path(no_network.__file__).parent)
    path = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    yield venv / "bin", dict(os.environ, PATH=path, PYTHONPATH=block, DYNBOOK_RUNS=str(venv / "runs"))
    shutil.rmtree(venv)  # more than a gigabyte


def test_wheel_is_complete(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    carried = {Path(entry).name for entry in names if entry.startswith("dynbook/notebooks/")}
    assert {path.name for path in figure_notebooks()} <= carried
    assert {f"dynbook/notebooks/{path.relative_to(NBS).as_posix()}" for path in parameter_files()} <= set(names)
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dynbook").rglob("*.py")}
    assert sources <= set(names)
    assert not [entry for entry in names if not entry.startswith("dynbook")]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The source distribution, built from a copy."
    checkout = copy_checkout(tmp_path_factory.mktemp("source"))
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", "dist"]
    done = run(command, timeout=300, cwd=checkout, env=online())
    assert done.returncode == 0, tail(done.stdout)
    [built] = (checkout / "dist").glob("*.tar.gz")
    return built


def test_sdist_is_complete(sdist: Path) -> None:
    "All notebooks, parameter files, modules, and what the wheel is built from."
    with tarfile.open(sdist) as archive:
        names = {entry.partition("/")[2] for entry in archive.getnames()}
    wanted = [*notebooks(), *modules(), *parameter_files()]
    assert {path.relative_to(ROOT).as_posix() for path in wanted} <= names
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= names


def test_twine_is_content(wheel: Path, sdist: Path) -> None:
    done = run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_oldest_versions_are_those_of_the_metadata() -> None:
    "constraints-min.txt pins every requirement of settings.ini to its lower bound; a workflow tests with it."
    text = (ROOT / "settings.ini").read_text(encoding="utf-8")
    block = re.search(r"^requirements =\n((?:    \S+\n)+)", text, flags=re.MULTILINE).group(1)
    wanted = [line.strip().replace(">=", "==") for line in block.splitlines()]
    pinned = [line for line in (ROOT / "constraints-min.txt").read_text().splitlines() if not line.startswith("#")]
    assert pinned == wanted


def test_import(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    code = "import dynbook, sys; print(dynbook.__file__); assert not {'nbdev', 'fastcore', 'torch'} & set(sys.modules)"
    done = run([installed[0] / "python", "-c", code], timeout=60, cwd=tmp_path, env=installed[1])
    assert done.returncode == 0, done.stdout
    assert str(installed[0].parent) in done.stdout, "the checkout was imported, not the installed wheel"


def test_readme_example(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    "The README's library example runs as it stands."
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    examples = [block for block in blocks if "torchvision" in block]
    assert examples, "README.md has no Python example with torchvision"
    for number, example in enumerate(examples):
        script = tmp_path / f"example{number}.py"
        script.write_text(example, encoding="utf-8")
        done = run([installed[0] / "python", script], timeout=300, cwd=tmp_path, env=installed[1])
        assert done.returncode == 0, tail(done.stdout)


def test_figure_from_the_shell(installed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    "`dynbook figure 6` finds its notebook inside the wheel and writes the picture and the table."
    command = [installed[0] / "dynbook", "figure", "6", "-p", "lr", "0.1", "-p", "n_seeds", "2"]
    done = run(command, timeout=300, cwd=tmp_path, env=installed[1])
    assert done.returncode == 0, tail(done.stdout)
    left = [path for path in Path(installed[1]["DYNBOOK_RUNS"], "figures").rglob("*") if path.is_file()]
    assert {".png", ".csv"} <= {path.suffix for path in left}, [str(path) for path in left]

"""Wrong parameters and damaged files stop with a sentence that names what was wrong."""

import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from project import NBS, run, tail

from dynbook.config import from_dict
from dynbook.data import load_dataset
from dynbook.readers import DataError
from dynbook.runs import Checkpoints
from dynbook.teleport import Boost

QUICK_START = NBS / "fig6.ipynb"
WRONG = {
    ("lrr", "0.1"): "parameter lrr: unknown (did you mean lr?)",
    ("lr", "abc"): "parameter lr: got 'abc'; accepted: ",
    ("lr", "-1"): "parameter lr: got -1; accepted: ",
    ("n_seeds", "2.5"): "parameter n_seeds: got 2.5; accepted: a whole number",
}


def papermill(*arguments: object) -> subprocess.CompletedProcess:
    "papermill's command line."
    return run([sys.executable, "-m", "papermill", *arguments], timeout=120)


def test_papermill_refuses_wrong_parameters(tmp_path: Path) -> None:
    def call(given: tuple[str, str]) -> subprocess.CompletedProcess:
        output = tmp_path / f"{'-'.join(given)}.ipynb"
        options = ("--no-progress-bar", "-k", "python3", "-p", "out_dir", tmp_path / "figures")
        return papermill(*options, QUICK_START, output, "-p", *given)

    with ThreadPoolExecutor(2) as pool:
        for given, done in zip(WRONG, pool.map(call, WRONG)):
            assert done.returncode != 0 and f"ValueError: {WRONG[given]}" in done.stdout, (
                f"{given}:\n{tail(done.stdout)}"
            )
    assert not (tmp_path / "figures").exists()


def test_papermill_describes_every_parameter() -> None:
    done = papermill("--help-notebook", QUICK_START)
    assert done.returncode == 0, tail(done.stdout)
    (cell,) = (c for c in json.loads(QUICK_START.read_text())["cells"] if "parameters" in c["metadata"].get("tags", []))
    shown = " ".join(done.stdout.split())
    lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
    for line in lines:
        name, kind = line.split("=")[0].split(":")
        expected = (f"{name}: {kind.strip().strip(chr(34))} (default", " ".join(line.split("#", 1)[1].split()))
        assert all(part in shown for part in expected), f"{expected} not in\n{done.stdout}"
    assert len(lines) >= 15


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lrr": 0.1}, "parameter lrr: unknown (did you mean lr?)"),
        ({"lr": float("nan")}, "parameter lr: got nan"),
        ({"lr": [0.1, "x"]}, "parameter lr: got [0.1, 'x']"),
        ({"momentum": 1.0}, "parameter momentum: got 1.0; accepted: "),
        ({"epochs": 0}, "parameter epochs: got 0; accepted: a whole number ≥ 1"),
        ({"epochs": True}, "parameter epochs: got True"),
        ({"plateau": 1}, "parameter plateau: got 1; accepted: True or False"),
        ({"sampling": "gauss"}, "parameter sampling: got 'gauss'; accepted: intra_landscape"),
        ({"arms": ["standard", "none"]}, "parameter arms: got ['standard', 'none']; accepted: standard, teleport"),
    ],
)
def test_a_configuration_refuses(values: dict, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        from_dict(Boost, values)
    assert str(refusal.value).startswith(sentence)


def mnist(root: Path, n_images: int = 30, n_labels: int = 30, cut: int = 0, magic: bytes = b"\0\0\x08") -> None:
    "A small data folder in MNIST's layout, whole or damaged."
    images, labels = np.zeros((n_images, 28, 28), np.uint8), np.arange(n_labels) % 10
    for split in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            header = magic + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
            content = gzip.compress(header + values.tobytes())
            path = root / "MNIST" / "raw" / f"{split}-{kind}-ubyte.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[: len(content) - cut])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"cut": 12}, "train-images-idx3-ubyte.gz: cannot be read"),
        ({"magic": b"\0\0\x0d"}, "not an IDX file of unsigned bytes"),
        ({"n_labels": 29}, "30 images but 29 labels: the two files do not belong together"),
    ],
)
def test_damaged_digits(damage: dict, sentence: str, tmp_path: Path) -> None:
    mnist(tmp_path / "whole")
    assert len(load_dataset("mnist", root=tmp_path / "whole", val="test").train) == 30
    mnist(tmp_path / "damaged", **damage)
    with pytest.raises(DataError, match=sentence.replace(".", r"\.")):
        load_dataset("mnist", root=tmp_path / "damaged")


def test_missing_and_unknown_datasets(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="download=True"):
        load_dataset("mnist", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="neither an existing path nor a known name; accepted: digits"):
        load_dataset("minst", root=tmp_path)
    with pytest.raises(ValueError, match="label_noise: got 1.5; accepted: 0 … 1"):
        load_dataset("digits", label_noise=1.5)


def broken_zip(path: Path) -> None:
    "The first half of an archive."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/a/1.png", b"0" * 1000)
    path.write_bytes(path.read_bytes()[:500])


def no_picture(path: Path) -> None:
    "An archive with a text that calls itself a picture."
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for label in "ab":
                archive.writestr(f"{split}/{label}/1.png", b"no picture")


@pytest.mark.parametrize("damage", [broken_zip, no_picture])
def test_damaged_archives(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    damage(path)
    with pytest.raises(DataError, match=r"pictures\.zip|1\.png"):
        load_dataset(path).train.inputs(slice(0, 1))


@pytest.mark.parametrize("note", ["", "{", '{"step": 3}'])
def test_a_damaged_checkpoint_note_is_no_checkpoint(note: str, tmp_path: Path) -> None:
    import torch

    store = Checkpoints(tmp_path)
    store.save(3, {"x": torch.ones(2)}, {"rows": []})
    store.save(6, {"x": torch.zeros(2)}, {"rows": []})
    (tmp_path / "step-0000000006.json").write_text(note)
    tensors, _ = store.latest()
    assert torch.equal(tensors["x"], torch.ones(2))

"""A newcomer's call: the collapse report of torchvision's ResNet-18 on a folder of pictures, with its time and memory."""

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from project import run, tail

pytestmark = pytest.mark.real
ARCHIVE = "tiny-imagenet-200-subset20.zip"
CALL = """
import json, sys, time
import dynbook
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import ToTensor
from dynbook.collapse import collapse_report

def peak():
    "High-water mark of this process in MiB (Linux)."
    return next(int(row.split()[1]) / 1024 for row in open("/proc/self/status") if row.startswith("VmHWM"))

def loader(split):
    return DataLoader(ImageFolder(f"{sys.argv[1]}/{split}", ToTensor()), batch_size=100)

torch.manual_seed(0)
model, loaders = resnet18(num_classes=20).eval(), {"train": loader("train"), "test": loader("val")}
start = time.perf_counter()
with torch.no_grad():
    for x, _ in (batch for part in loaders.values() for batch in part):
        model(x)
forward, before = time.perf_counter() - start, peak()
start = time.perf_counter()
table = collapse_report(model, loaders, n_classes=20)
seconds = time.perf_counter() - start
table.to_csv(sys.argv[2], index=False)
print(json.dumps({"forward_s": forward, "report_s": seconds, "before_MiB": before, "peak_MiB": peak()}))
"""


def unpack(archive: Path, folder: Path) -> Path:
    "Twenty classes as two folders of class folders, as torchvision's `ImageFolder` wants them."
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    root = next(folder.rglob("val_annotations.txt")).parent.parent
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        picture, wnid = line.split("\t")[:2]
        place = root / "val" / wnid
        if (root / "val" / "images" / picture).exists():
            place.mkdir(exist_ok=True)
            shutil.move(root / "val" / "images" / picture, place / picture)
    shutil.rmtree(root / "val" / "images")
    return root


@pytest.mark.timeout(900)
def test_a_newcomer_measures_resnet18_on_a_folder_of_pictures(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    archive = Path(os.environ.get("DYNBOOK_DATA", "")) / ARCHIVE
    if "DYNBOOK_DATA" not in os.environ or not archive.exists():
        pytest.skip(f"DYNBOOK_DATA does not hold {ARCHIVE}")
    root, out = unpack(archive, tmp_path / "pictures"), tmp_path / "report.csv"
    done = run([sys.executable, "-c", CALL, root, out], timeout=900)
    assert done.returncode == 0, tail(done.stdout)
    cost = json.loads(done.stdout.strip().splitlines()[-1])
    for name, value in cost.items():
        record_property(name, round(value, 1))
    table = pd.read_csv(out)
    layers = table[table.layer != "output"].groupby("layer").depth.first()
    assert len(layers) == 21 and table.value.notna().all() and set(table.split) == {"train", "test", "weights"}
    per_layer = table[(table.split == "train") & (table.layer != "output")].groupby("metric").layer.nunique()
    assert (per_layer[["nc1", "cdnv", "ncc", "ncc_agreement", "pabs", "equiangular", "within_share"]] == 21).all()
    assert len(table[(table.metric == "nc1") & (table.split == "test")]) == 21
    assert cost["report_s"] < 4 * cost["forward_s"], cost  # two passes
    assert cost["peak_MiB"] - cost["before_MiB"] < 300, cost  # class means of 21 layers, not 4000 pictures of them

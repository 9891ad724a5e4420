"""The measures of the chapter on saturation: bad input in words, torchvision's networks, and a newcomer's call."""

import errno
import warnings
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dynbook  # noqa: F401  (makes torchvision importable)
from dynbook.saturation.features import layer_features
from dynbook.saturation.folders import join_features
from dynbook.saturation.probes import probe_curve
from dynbook.saturation.receptive_field import (
    border_layer,
    empirical_receptive_field,
    receptive_fields,
    resolution_range,
)
from dynbook.saturation.tracker import LayerTracker, layer_saturation

RANGES = {  # largest r_min of a convolution, largest finite field
    "vgg11": (134, 134),
    "vgg13": (140, 140),
    "vgg16_bn": (196, 196),
    "vgg19": (252, 252),
    "resnet18": (139, 435),
    "resnet34": (139, 899),
    "resnet50": (75, 427),
    "wide_resnet50_2": (75, 427),
}
OTHERS = ("alexnet", "convnext_tiny", "densenet121", "densenet169", "efficientnet_b0", "efficientnet_b1", "googlenet")
OTHERS += ("inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "resnet101")
OTHERS += (
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_x_800mf",
    "regnet_y_400mf",
    "regnet_y_800mf",
    "resnext50_32x4d",
)
OTHERS += (
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vit_b_16",
)


class Net(nn.Module):
    "Two convolutions, a head, and a layer that never runs."

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, stride=2)
        self.head, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


def pictures(n: int = 24, classes: int = 3) -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 3, 9, 9, generator=g), torch.arange(n) % classes)]


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def test_a_layer_that_never_runs_is_reported(net: nn.Module) -> None:
    with pytest.warns(UserWarning, match="unused never ran"):
        table = layer_saturation(net, pictures())
    assert list(table.index) == ["first", "second", "head"]
    with pytest.raises(ValueError, match="unused never ran in the forward pass; accepted"):
        layer_saturation(net, pictures(), ["first", "unused"])
    with pytest.raises(ValueError, match="unused never ran"):
        layer_features(net, pictures(), ["first", "unused"])


def test_a_map_smaller_than_the_pool_is_used_as_it_is(net: nn.Module) -> None:
    with pytest.warns(UserWarning, match="the maps of second are smaller than 4"):
        features, _ = layer_features(net, pictures(), ["first", "second"], pool=4)
    assert features["first"].shape == (24, 6 * 16) and features["second"].shape == (24, 6 * 9)


def test_a_single_class_is_refused(net: nn.Module) -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        probe_curve(net, pictures(classes=1), pictures(classes=1), ["first"], pool=1)


def test_activations_that_are_not_finite_are_refused(net: nn.Module) -> None:
    x, y = pictures()[0]
    bad = [(x, y), (torch.where(x > 2, float("nan"), x), y)]
    with pytest.raises(
        ValueError, match=r"batch 2 of 'eval', layer first: its output is not finite in 6 of 6 channels"
    ):
        layer_saturation(net, bad, ["first"])
    with pytest.raises(ValueError, match="layer first: .* features are not finite"):
        layer_features(net, bad, ["first"])
    assert not net.first._forward_hooks and net.training


def test_a_full_disk_loses_nothing(net: nn.Module, tmp_path: Path) -> None:
    kept, _ = layer_features(net, pictures(), ["first"], pool=2, folder=tmp_path)
    with patch("os.fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        with pytest.raises(OSError, match="no space left in .* everything that was there before is whole"):
            layer_features(net, pictures(), ["first"], pool=3, folder=tmp_path)
    again, _ = layer_features(net, pictures(), ["first"], pool=2, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1 and torch.equal(kept["first"], again["first"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_full_at_once(net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "The operating system's own refusal, at the first byte that is flushed."
    layer_features(net, pictures(), ["first"], pool=2, folder=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    before = {p: p.read_bytes() for p in kept.iterdir()}
    for module in ("features", "folders"):
        monkeypatch.setattr(
            f"dynbook.saturation.{module}.open", lambda path, mode: open("/dev/full", mode), raising=False
        )
    with pytest.raises(OSError, match="no space left in .* everything that was there before is whole"):
        layer_features(net, pictures(), ["first"], pool=3, folder=tmp_path / "kept")
    with pytest.raises(OSError, match="no space left in .*; nothing of joined is kept"):
        join_features([kept, kept], tmp_path / "joined")
    assert {p: p.read_bytes() for p in kept.iterdir()} == before
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_dir()) == sorted(["kept", kept.name])


def test_an_error_inside_leaves_no_hooks(net: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        with LayerTracker(net):
            raise RuntimeError("stop")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def network(name: str) -> nn.Module:
    "An untrained network; its weights are not even initialised, because only shapes matter."
    import torchvision

    names = [k for k in vars(nn.init) if k.endswith("_") and not k.startswith("_")]
    kw = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with patch.multiple(nn.init, **{k: lambda t, *a, **kw: t for k in names}):
        return torchvision.models.get_model(name, weights=None, **kw)


@pytest.mark.parametrize("name", [*RANGES, *OTHERS])
def test_receptive_fields_of_torchvision(name: str) -> None:
    rf = receptive_fields(network(name))
    assert rf.r_min.notna().all() and (rf.r_in <= rf.r_min).all() and (rf.r_min <= rf.r_max).all()
    assert rf.r_in.iloc[0] == 1 and (rf.jump > 0).all()
    if name in RANGES:
        assert resolution_range(rf) == RANGES[name]


def test_resnet18_sees_435_pixels() -> None:
    rf = receptive_fields(network("resnet18"))
    assert rf.r_max["layer4.1.conv2"] == 435 and border_layer(rf, 32) == "layer3.1.conv2"


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("vgg11", "features.8", 96),
        ("resnet18", "layer2.1.conv2", 160),
        ("googlenet", "inception3a.branch3.1.conv", 128),
        ("densenet121", "features.denseblock1.denselayer3.conv2", 128),
        ("squeezenet1_1", "features.7.expand3x3", 128),
        ("shufflenet_v2_x0_5", "stage2.0.branch2.5", 96),
        ("mobilenet_v2", "features.4.conv.1.0", 128),
        ("mnasnet0_5", "layers.8.1.layers.3", 160),
    ],
)
def test_the_rules_agree_with_the_support_of_a_gradient(name: str, layer: str, size: int) -> None:
    model = network(name)
    assert receptive_fields(model, size).r_max[layer] == empirical_receptive_field(model, layer, size)


def test_a_newcomer_joins_three_measures_of_resnet18(tmp_path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model, y = resnet18(num_classes=3), torch.arange(60) % 3
    loader = DataLoader(TensorDataset(torch.randn(60, 3, 32, 32) + y[:, None, None, None], y), batch_size=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # maps smaller than the pool
        sat, probes = (
            layer_saturation(model, loader, max_positions="bounded"),
            probe_curve(model, loader, loader, pool=1),
        )
    table = sat.join(probes).join(receptive_fields(model))
    axes = table.reset_index().plot(x="layer", y=["lsat", "test_acc"], figsize=(9, 3), rot=90)
    axes.axvline(list(table.index).index(border_layer(table, 32)), color="black")
    axes.figure.savefig(tmp_path / "resnet18.png")
    assert len(table) == 21 and table.notna().all().all() and table.lsat.between(0, 1).all()
    assert table.r_max["conv1"] == 7 and (tmp_path / "resnet18.png").stat().st_size > 5000
    assert isinstance(table, pd.DataFrame) and table.test_acc.max() == 1.0

"""The saturation experiment as its users know it: names, files, run ids, kill and resume."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from project import tail
from torch import nn

from dynbook.engines import Processes
from dynbook.saturation.experiment import run, run_trial, saturation_experiment
from dynbook.saturation.names import MODELS, REFUSED, build_model
from dynbook.saturation.receptive_field import receptive_fields
from dynbook.saturation.schema import Experiment, expand
from dynbook.saturation.tasks import DATASETS, build_task
from dynbook.saturation.training_log import Trial, read_log

NAMES = """
pretrainedVGG16 pretrainedVGG19 vgg11_XXL vgg11_XL vgg11_L vgg13_XXL vgg13_XL vgg13_L vgg16_XXL vgg16_XL vgg16_L
vgg19_XXL vgg19_XL vgg19_L vgg19_EuroSat vgg19_EuroSat_Hybrid vgg19_EuroSat_Performance vgg19_EuroSat_Performance2
vggresnet vggresnet2 vggresnet3 vgg16_pruned vgg19r3 vgg19r4 vgg19p0 vgg19p1 vgg19p2 vgg19r0 vgg19r1 vgg19r2
vgg19r2d3 vgg16AlteredPooling1 vgg16AlteredPooling2 vgg16AlteredPooling3 vgg16AlteredPooling4 vgg16AlteredPooling5
vgg16AlteredPooling6 vgg16_ap7 vggO8 vggO6_100 vggO6_1000 vggO6_100_regression vggO7 vggO6 vggO5 vggO4 vggO3 vggO2
vggO2b vgg16_d1 vgg16_d2 vgg16_d4 vgg16 vgg16_S vgg16_XS vgg16_XXS vgg16_XXXS vgg16_5 vgg16_7 vgg16_9 vgg16_11 vgg5
vgg5_S vgg6 vgg6_S vgg7 vgg7_S vgg8 vgg8_S vgg8_XS vgg9 vgg9_S vgg9_XS vgg9_XXS vgg11_3 vgg11 vgg11_S vgg11_XS
vgg11_XXS vgg11_XXXS vgg13 vgg13_3 vgg13_strides vgg13_early vgg13_thin vgg13_wide vgg13_late vgg13_late_wide
vgg13_d2 vgg13_d3 vgg13_d4 vgg13PCA vgg13lin_readout vgg13PCA_centered vgg13PCA98 vgg13PCA97 vgg13PCA96 vgg13PCA95
vgg13PCA94 vgg13PCA93 vgg13PCA92 vgg13PCA91 vgg13PCA90 vgg13PCA80 vgg13PCA70 vgg13PCA60 vgg13PCA50 vgg13PCA40
vgg13PCA30 vgg13PCA20 vgg13_S vgg13_XS vgg13_XXS vgg13_XXXS vgg19 vgg11t vgg13t vgg16t vgg19t vgg19t2 vgg19m vgg19_S
vgg19_XS vgg19_XXS vgg19_XXXS vgg11_d2 vgg19_d2 vgg11_d3 vgg16_p vgg16_p2 vgg16_d3 vgg19_d3 vgg19_g2 vgg19_g3
vgg19_gx vgg19_se pretrainedResNet151 BasicBlokSE BasicBlokSA BasicBlokSESA BottleneckSE BottleneckSA BottleneckSESA
InvertedBottleneckDW InvertedBottleneckDWSE InvertedBottleneckSE test_network18 resnet18highway resnet18nodownsample
resnet18_ep0 resnet18_ep00 resnet18_ep01 resnet18_noskip_ep01 resnet18_noskip_ep00 resnet18_noskip_ep0
resnet18_nr1_1 resnet18_nr1_2 resnet18_nr1_3 resnet18_nr1_4 resnet18_nr2_12 resnet18_nr2_13 resnet18_nr2_14
resnet18_nr2_23 resnet18_nr2_24 resnet18_nr2_34 resnet18_nr3_123 resnet18_nr3_124 resnet18_nr3_234 resnet18noskip
resnet18t resnet18t2 resnet18tnoskip resnet34_nr1 resnet34_nr2 resnet34_nr32 resnet34noskip resnet18_L resnet18_XL
resnet18_XXL resnet18_XXXS resnet18_S resnet18_XS resnet18_XXS resnet34_L resnet34_XL resnet34_XXL resnet34_XXXL
resnet34_S resnet34_XS resnet34_XXS resnet34_XXXS resnet18 resnet18_ri_performance resnet18_ri_performance2
resnet18_ri_hybrid resnet18_ri_hybrid2 resnet18_ri_efficiency resnet18_se resnet18_se_noskip resnet18_sa
resnet18_sa_noskip resnet18_sesa resnet18_sesa_noskip resnet24 resnet24_noskip resnet24_se resnet24_se_noskip
resnet24_sa resnet24_sa_noskip resnet24_sesa resnet24_sesa_noskip iresnet18 iresnet18_dw seiresnet18_dw seiresnet18
resnet18_o1 resnet18_o3 resnet18_o5 resnet18_o7 resnet18_i7_o3 resnet18_bottleneck resnet18noskip_dspl2
resnet18noskip_dspl3 resnet18_dspl2 resnet18_dp00_dspl2 resnet18noskip_dp00_dspl2 resnet18_dspl3 resnet18_dspl5
resnet18_dspl6 resnet18_dspl8 resnet36_dspl8 resnet36 resnet18_l05_w05 resnet18_l2_w1 resnet36_l2_w2 resnet18_early
resnet18_late resnet18_wide resnet18_thin resnet34 resnet34t resnet34t2 resnet50 resnet50t resnet50noskip resnet101
resnet152 resnet152_r resnet152_d6 resnet1001 ResNet18 ResNet18T ResNet18T2 ResNet34 ResNet34T ResNet50 ResNet101
ResNet152 PC_ResNet18 PC_ResNet18_S PC_ResNet18_XS PC_ResNet18_XXS PC_ResNet18_XXXS PC_ResNet18_L PC_ResNet18_XL
PC_ResNet18_XXL PC_ResNet18_XXXL PC_ResNet34 PC_ResNet34_S PC_ResNet34_XS PC_ResNet34_XXS PC_ResNet34_XXXS
PC_ResNet34_L PC_ResNet34_XL PC_ResNet34_XXL PC_ResNet34_XXXL PC_ResNet18T PC_ResNet34T PC_ResNet50 alainfc
mpnet18_3_5_2_1 mpnet36_8_1_3_7 mpnet72_2_2_3_3 mpnet36_4_1_3_7 mpnet36_4_1_3_7d3 mpnet36_8_1_3_11d2 mpnet36_8_3
mpnet36_1_1_3_11d2 mpnet36_1_3 mpnet36_1_11d2 mpnet18_8_1_3_11d2 mpnet36_1_7d3 mpnet36_4_3 mpnet36_1_4_3_7
mpnet36_4_7 mpnet36_1_2_3_7 mpnet29_1_2_3_7 mpnet36_2_7 mpnet18_4_3 mpnet18_1_7 mpnet36_1_7 mpnet18_1_2_3_7
mpnet18_1_4_3_7 mpnet18_4_1_3_7 mpnet18_8_1_3_7 mpnet18_8_3 mpnet18_1_4_1_7 mpnet18_2_7 mpnet18_1_3 mpnet18_1_1
mpnet18_2_3 mpnet18_1_2_1_7 mpnet18_2_1 mpnet18_1_2_1_3 mpnet18_2_2_3_7 mpnet12_2_2_3_7 mpnet12_2_3 mpnet12_2_7
mpnet18_4_4_3_7 mpnet18_4_4_1_7 mpnet18_4_7 mpnet18_4_1 mpnet18_2_2_1_7 densenet9 densenet18 densenet65 densenet121
densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b0_eff efficientnet_b0_perf efficientnet_b0_perf2
efficientnet_b0_perf3 efficientnet_b0_perf4 efficientnet_b0_perf5 efficientnet_b0_perf6 mobilenet_v3_large
mobilenet_v3_small better_mobilenet_v3_small squeezenet1_0 squeezenet1_1 squeezenet11mpns squeezenet11res
squeezenet11mp squeezenet11ns squeezenet11as squeezenet11dc alexnet inception3 squeezenet10 squeezenet11 mobilenetV2
mnasnet05 mnasnet075 mnasnet10 mnasnet13 inceptionv3 resnet18_pretrained resnet34_pretrained resnet50_pretrained
resnet101_pretrained resnet152_pretrained densenet121_pretrained densenet161_pretrained densenet169_pretrained
densenet201_pretrained msnet18nt msnet18 msnet18_ns msnet18_ntns msnet22_nt msnet22 msnet22_swish msnet22fpn
ThreeNet8 ThreeNet16 ThreeNet32 ThreeNet64 ThreeNet128 ThreeNet256 ThreeNet512 ThreeNet1024 fatnet vit_1_128
vit_3_128 vit_6_128 vit_12_128 vit_6_256 vit_3_256 Inception3 pretrainedResNet34 uber_net CNet2 CNet1 CNet1PCA CNet0
ImNet5b ImNet5 ImNet4b ImNet4 ImNet3 ImNet2 ImNet1 FoodNet5 FoodNet4 FoodNet3 FoodNet2 FoodNet1 tiny_cae
tiny_cae_pca big_cae_pca mnet5 mnet5b mnet4 mnet3 mnet2 mnet1
"""
TASKS = (
    "Cifar10 Cifar100 Cifar10A Cifar10AA Cifar10RC Cifar10SmallRandomPositioning Cifar10SmallRandomPositioningNoise "
)
TASKS += (
    "BlackBorderCifar10 EdgePaddingCifar10 ReflectBorderCifar10 MNIST AMNIST MNISTSmallRandomPositioning TinyImageNet "
)
TASKS += "ImageNet iNaturalist ResizedImageNet ResizediNaturalist ResizedImageNet16 ImageNette ImageWoof Food101 "
TASKS += "TinyResizedFood101 Malaria ResizedMalaria EuroSat UrbanSounds AgeFace AgeFaceV2 AgeFaceV3 ZIEL_C ZIEL_UC"


VGG = {
    "vgg11": [3, 8, 18, 26, 46, 62, 102, 134],
    "vgg13": [3, 5, 10, 14, 24, 32, 52, 68, 108, 140],
    "vgg16": [3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196],
    "vgg19": [3, 5, 10, 14, 24, 32, 40, 48, 68, 84, 100, 116, 156, 188, 220, 252],
    "vgg16_d3": [7, 13, 26, 38, 64, 88, 112, 164, 212, 260, 364, 460, 556],
}
RESNET = [7, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
RESNET_PC = [3, 5, 7, 9, 11, 13, 17, 21, 25, 29, 37, 45, 53, 61, 77, 93, 109]
SMALL = dict(model="V10", dataset="digits", resolution=8, epoch=3, batch_size=64, optimizer="one_cycle", n_train=200)
SMALL |= dict(n_test=100, measure_every=0)

SCRIPT = """
import json, sys
import dynbook.saturation.training_log as log
from dynbook.saturation.experiment import run_trial
from dynbook.saturation.schema import Experiment

fit = log.fit


def watched(*args, after_step, **kw):
    def say(step):
        after_step(step)
        print("step", step.step, flush=True)
        if step.step == int(sys.argv[2]):
            sys.stdin.readline()

    return fit(*args, after_step=say, **kw)


log.fit = watched
values = json.loads(sys.argv[1])
run_trial(Experiment(**values), "killed", "cpu", ("train",))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Experiment, Trial]]:
    "A finished experiment."
    experiment = Experiment(**SMALL, logs_dir=str(tmp_path_factory.mktemp("logs")))
    run_trial(experiment, "whole", "cpu", ("train",))
    yield experiment, Trial(experiment, "whole", "cpu")


def convolutions(name: str, column: str = "r_max", **kw: object) -> list[int]:
    "Receptive fields of a network's convolutions, those of the shortcuts left out."
    table = receptive_fields(build_model(name, width=1, input_size=None, **kw), 64)
    kept = table[table.kind.str.startswith("conv") & ~table.index.str.contains("shortcut")]
    return [int(r) for r in kept[column]]


def test_every_published_network_is_built_or_refused_in_words() -> None:
    built, refused = [], []
    for name in NAMES.split():
        with torch.device("meta"):
            try:
                model = build_model(name, input_size=32)
            except ValueError as reason:
                assert "accepted: " in str(reason) or "Nothing is downloaded" in str(reason), name
                refused.append(name)
                continue
        assert isinstance(model, nn.Module) and sum(p.numel() for p in model.parameters()) > 100, name
        built.append(name)
    asked = [n for n in refused if n in MODELS]  # pretrained: they wait for weights=
    assert all(MODELS[n].args.get("pretrained") for n in asked)
    assert (len(built), len(asked), len(refused) - len(asked)) == (349, 11, 59)
    assert set(REFUSED) <= set(refused)


@pytest.mark.parametrize(
    "name", ["vgg19_d3", "resnet34_nr32", "PC_ResNet50", "mpnet18_2_2_1_7", "resnet24_sesa", "vit_1_128"]
)
def test_a_published_network_classifies(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, num_classes=7, in_channels=1, input_size=32)
        assert model(torch.zeros(3, 1, 32, 32)).shape == (3, 7)


@pytest.mark.parametrize("name", VGG)
def test_receptive_fields_of_vggs(name: str) -> None:
    assert convolutions(name) == VGG[name]


def test_receptive_fields_of_resnets() -> None:
    assert convolutions("resnet18") == convolutions("resnet18noskip") == RESNET
    assert convolutions("resnet34")[-1] == 899
    assert convolutions("ResNet18_PC") == convolutions("ResNet18_PC", original=True) == RESNET_PC


def test_every_published_task_has_a_name(tmp_path: Path) -> None:
    assert set(TASKS.split()) <= set(DATASETS)
    for name in TASKS.split():
        with pytest.raises(FileNotFoundError) as reason:
            build_task(name, 32, root=tmp_path)
        assert str(tmp_path) in str(reason.value) and "DYNBOOK_DATA" in str(reason.value), name


def test_a_configuration_is_a_product(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({"model": ["vgg16", "resnet18"], "epoch": 1, "resolution": [32, 160], "delta": [0.9, 0.99]})
    )
    runs = expand(path)
    assert [(r.model, r.resolution, r.delta) for r in runs] == [
        (m, s, d) for m in ("vgg16", "resnet18") for s in (32, 160) for d in (0.9, 0.99)
    ]
    assert {(r.batch_size, r.optimizer, r.dataset, r.metrics) for r in runs} == {
        (128, "adam", "Cifar10", ("Accuracy", "Top5Accuracy"))
    }
    with pytest.warns(UserWarning, match="did you mean resolution"):
        assert len(expand({"resolutoin": [1, 2]})) == 1


def test_the_same_run_id_trains_nothing(trained: tuple[Experiment, Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, trial = trained
    monkeypatch.setattr("dynbook.saturation.training_log.fit", None)
    before = {p: p.stat().st_mtime_ns for p in trial.folder.rglob("*") if p.is_file() and "lock" not in p.name}
    run_trial(experiment, "whole", "cpu", ("train",))
    assert {p: p.stat().st_mtime_ns for p in trial.folder.rglob("*") if p.is_file() and "lock" not in p.name} == before
    (outcome,) = run(experiment, "another", "cpu", ("train",))
    assert outcome.status == "failed"  # another run id sees nothing of this one, and wants to train


def test_killed_and_resumed_is_the_same_to_the_bit(trained: tuple[Experiment, Trial]) -> None:
    experiment, whole = trained
    values = json.dumps({**SMALL, "logs_dir": experiment.logs_dir})
    for stop in (5, 6, -1):  # in the second epoch, once more after a resume, then to the end
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, values, str(stop)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        seen = []
        for line in process.stdout:
            seen.append(int(line.split()[1]))
            if seen[-1] == stop:
                process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert (process.returncode == 0) == (stop == -1), tail(process.stderr.read())
    assert seen[0] == 5, "the last process did not resume after the first epoch"
    killed = Trial(experiment, "killed", "cpu")
    assert read_log(killed.folder / f"{killed.stem}.csv").equals(read_log(whole.folder / f"{whole.stem}.csv"))
    a, b = (t.trained().state_dict() for t in (whole, killed))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_steps_on_another_engine(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "epoch": 1, "logs_dir": str(tmp_path / "logs")}))
    outcomes, said = saturation_experiment(
        path, "cpu", "there", ("rf", "flops", "saturation", "train"), engine=Processes(1)
    )
    assert [o.status for o in outcomes] == ["finished"], outcomes
    assert any("frozen weights" in sentence for sentence in said)
    folder = Trial(outcomes[0].config, "there", "cpu").folder
    fields = pd.read_csv(folder / "receptive_field_V10_digits_8.csv")
    assert list(fields.columns[:5]) == ["Layer", "map_size", "start", "jump", "receptive_field"]
    assert {"train-saturation_features-conv0-conv", "eval-intrinsic-dimensionality_head-fc"} <= set(
        read_log(next(folder.glob("V10-*.csv"))).columns
    )
    assert json.loads((folder / "computational_info.json").read_text())["params"] > 0


PLUGIN = """
from torch import nn

from dynbook.saturation.names import register


@register("of_my_own")
def of_my_own(num_classes=10, in_channels=3, input_size=None, **kw):
    conv = nn.Conv2d(in_channels, 4, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_a_plugin_registers_in_worker_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "model": "of_my_own", "epoch": 1, "logs_dir": str(tmp_path / "logs")}))
    with pytest.raises(ValueError, match="or one that you register"):
        saturation_experiment(path, "cpu", "mine", ("train",))
    try:
        outcomes, _ = saturation_experiment(
            path, "cpu", "mine", ("train", "confusion"), engine=Processes(1), plugins=["my_plugin"]
        )
    finally:
        MODELS.pop("of_my_own", None)
        sys.modules.pop("my_plugin", None)
    assert [o.status for o in outcomes] == ["finished"], outcomes
    folder = tmp_path / "logs" / "of_my_own" / "digits_8" / "mine"
    assert len(list(folder.rglob("confusion_matrix_probe_*.png"))) == 2

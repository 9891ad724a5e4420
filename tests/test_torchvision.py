"""Unmodified torchvision networks keep their function under a random change of basis, or say why they cannot be read."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import dynbook  # noqa: F401  (makes torchvision importable)
from dynbook.graph import TraceError
from dynbook.symmetry import scale_symmetry
from dynbook.teleport import Teleported, sample_cob, teleport_

NAMES = ("resnet18", "resnet50", "vgg11_bn", "densenet121", "mobilenet_v2", "googlenet", "squeezenet1_1")
NAMES += ("shufflenet_v2_x1_0", "efficientnet_b0", "mnasnet0_5", "vit_b_32", "convnext_tiny")
SIZE = {"vit_b_32": {"image_size": 64}, "googlenet": {"init_weights": True}}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def network(name: str) -> nn.Module:
    "A network in float64 in which nothing is zero or one by construction, and batch statistics stay as they are."
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=10, **SIZE.get(name, {})).double()
    for k, module in enumerate(model.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
            module.weight.data += 0.3 * draw(k, module.weight.shape)
            module.bias.data += 0.3 * draw(k + 1, module.bias.shape)
            module.running_mean += 0.3 * draw(k + 2, module.bias.shape)
            module.running_var *= 1 + 0.5 * draw(k + 3, module.bias.shape).tanh()
    for k, parameter in enumerate(model.parameters()):
        if not parameter.any():
            parameter.data += 0.05 * draw(k, parameter.shape)
    return model


@torch.no_grad()
def outputs(model: nn.Module) -> Tensor:
    "All outputs (auxiliary heads too) for one batch, with the same dropout every time."
    torch.manual_seed(1)
    parts = model(draw(7, torch.Size([4, 3, 64, 64])))
    return torch.cat([part.flatten() for part in tree_leaves(parts) if part is not None])


def error(before: Tensor, after: Tensor) -> float:
    "Largest difference relative to the largest output."
    assert before.std() > 1e-3 and len(before) >= 40
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_weights_mode_keeps_the_function(name: str) -> None:
    model = network(name).eval()
    sym = scale_symmetry(model, draw(7, torch.Size([1, 3, 64, 64])))
    cob = sample_cob(sym, 0.9, "inter_landscape", generator=seeded(1))
    assert sym.free > 1000
    before, weights = outputs(model), [p.clone() for p in model.parameters()]
    after = outputs(teleport_(model, sym, cob))
    moved = sum(not torch.equal(p, q) for p, q in zip(weights, model.parameters()))
    assert error(before, after) <= 1e-12 and moved > len(weights) / 3


@pytest.mark.parametrize("name", NAMES)
def test_full_mode_keeps_the_function_with_batch_statistics(name: str) -> None:
    model = network(name).train()
    plain = outputs(model)
    model = Teleported(model, draw(7, torch.Size([1, 3, 64, 64]))).train()
    before = outputs(model)
    model.random_teleport_(0.9, "inter_landscape", generator=seeded(2))
    assert error(before, outputs(model)) <= 1e-12
    assert error(plain, before) <= 1e-12


def test_full_mode_drops_the_same_blocks() -> None:
    "Stochastic depth is a function, not a module; it must stay active in training mode."
    model = network("efficientnet_b0").train()
    plain = outputs(model)
    assert error(plain, outputs(Teleported(model, draw(7, torch.Size([1, 3, 64, 64]))).train())) <= 1e-12


class Hidden(nn.Module):
    "Decides by its values, which no tracer can record."

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_traced_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), Hidden()), nn.Linear(4, 2))
    with pytest.raises(TraceError, match=re.escape("1.1 (Hidden)")):
        scale_symmetry(model, torch.randn(2, 3))
    sym = scale_symmetry(model, torch.randn(2, 3), leaves=(Hidden,))
    assert sym.free == 0 and any("Hidden" in reason for _, reason, _ in sym.pinned)

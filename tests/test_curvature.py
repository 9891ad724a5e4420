"""Our Hessians beside a second library's, and the known trap in second derivatives of normalisation layers."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn.functional import cross_entropy

from dynbook.curvature import flat_loss, flatten, hessian
from dynbook.factored import METHODS, BatchHessian


def network(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    middle = {"plain": nn.Identity(), "batch": nn.BatchNorm1d(5), "layer": nn.LayerNorm(5)}[kind]
    return nn.Sequential(nn.Linear(6, 5), middle, nn.Tanh(), nn.Linear(5, 3)).double()


def batch(n: int = 7) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (n,), generator=g)


def by_differences(model: nn.Module, x: Tensor, y: Tensor, step: float = 1e-4) -> Tensor:
    "The Hessian from gradients alone, to fourth order in the step."
    loss, theta = flat_loss(model, x, y), flatten(model)
    slopes = []
    for e in torch.eye(len(theta), dtype=theta.dtype):
        g = [grad(loss)(theta + k * step * e) for k in (-2, -1, 1, 2)]
        slopes.append((g[0] - 8 * g[1] + 8 * g[2] - g[3]) / (12 * step))
    return torch.stack(slopes)


@pytest.mark.parametrize("kind", ["plain", "batch", "layer"])
@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_of_normalisations_are_right(kind: str, training: bool) -> None:
    model, (x, y) = network(kind).train(training), batch()
    truth = by_differences(model, x, y)
    assert (hessian(flat_loss(model, x, y), flatten(model)) - truth).abs().max() < 1e-9
    for method in ("auto", "compressed", "generic"):
        assert (BatchHessian.of(model, x, y, method=method).dense() - truth).abs().max() < 1e-9


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_all_methods_agree_with_curvlinops(activation: type[nn.Module]) -> None:
    import curvlinops

    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(6, 5), activation(), nn.Linear(5, 3)).double(), batch()
    params = dict(model.named_parameters())
    try:
        other = curvlinops.HessianLinearOperator(model, cross_entropy, params, [(x, y)])
    except (TypeError, ValueError, AttributeError):  # earlier versions take a list and a loss module
        other = curvlinops.HessianLinearOperator(model, nn.CrossEntropyLoss(), list(params.values()), [(x, y)])
    size = len(flatten(model))
    truth = torch.as_tensor(other @ torch.eye(size, dtype=torch.float64))
    for method in METHODS:
        assert (BatchHessian.of(model, x, y, method=method).dense() - truth).abs().max() < 1e-10

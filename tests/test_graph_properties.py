"""Random small networks: a random admissible change of basis, and a random exchange of channels, keep what they compute."""

import copy

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor, nn

from dynbook.symmetry import ScaleSymmetry, scale_symmetry
from dynbook.teleport import Teleported, cob_factors, grad_after, sample_cob, teleport_, undo_

WIDTHS = (2, 3, 4)
STEPS = (
    "conv",
    "conv",
    "depthwise",
    "grouped",
    "again",
    "norm",
    "relu",
    "leaky",
    "tanh",
    "pool",
    "pad",
    "add",
    "cat",
    "swap",
    "sub",
)
HEADS = ("flatten", "mean", "mean_linear_linear")


class Random(nn.Module):
    "A network written by a list of (step, number) pairs; pictures keep their 5 × 5 pixels, channels change."

    def __init__(self, plan: list[tuple[str, int]], head: str):
        super().__init__()
        self.plan, self.layers, self.uses = [], nn.ModuleList(), {}
        channels, earlier, square = 3, [3], None
        for step, k in plan:
            width = WIDTHS[k % len(WIDTHS)]
            other = k % len(earlier)
            if step == "conv":
                channels = self.add(step, nn.Conv2d(channels, width, 3, padding=1, bias=k % 2 == 0), other)
            elif step == "depthwise":
                channels = self.add(
                    step, nn.Conv2d(channels, channels * (1 + k % 2), 3, padding=1, groups=channels), other
                )
            elif step == "grouped" and channels % 2 == 0:
                channels = self.add(step, nn.Conv2d(channels, 4, 1, groups=2), other)
            elif step == "norm":
                self.add(step, nn.BatchNorm2d(channels), other)
            elif step == "again" and square is not None and self.layers[square].in_channels == channels:
                self.plan.append((step, square, other))
            elif step == "add" and earlier[other] == channels:
                self.plan.append((step, None, other))
            elif step == "sub":
                self.plan.append((step, None, other if earlier[other] == channels else len(earlier) - 1))
            elif step == "cat" and earlier[other] + channels <= 8:
                self.plan.append((step, k % 2, other))
                channels += earlier[other]
            elif step == "swap" and channels > 1:
                self.plan.append((step, None, other))
            elif step in ("relu", "leaky", "tanh", "pool", "pad"):
                self.plan.append((step, k % 2, other))
            else:
                continue
            if step == "conv" and self.layers[-1].in_channels == channels:
                square = len(self.layers) - 1
            earlier.append(channels)
        self.head = head
        self.inner = nn.Linear(channels, 4)
        self.outer = nn.Linear({"flatten": 25 * channels, "mean": channels}.get(head, 4), 3)

    def add(self, step: str, layer: nn.Module, other: int) -> int:
        self.layers.append(layer)
        self.plan.append((step, len(self.layers) - 1, other))
        return getattr(layer, "out_channels", 0)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for step, k, other in self.plan:
            x, before = seen[-1], seen[other]
            if step in ("conv", "depthwise", "grouped", "norm", "again"):
                x = self.layers[k](x)
            elif step == "relu":
                x = F.relu(x) if k else torch.relu(x)
            elif step in ("leaky", "tanh"):
                x = F.leaky_relu(x, 0.2) if step == "leaky" else x.tanh()
            elif step == "pool":
                x = F.max_pool2d(x, 3, 1, 1) if k else F.avg_pool2d(x, 3, 1, 1)
            elif step == "pad":
                x = F.pad(x, (1, 0, 0, 1))[:, :, 1:, :-1]
            elif step == "add":
                x = x + before if other % 2 else before.clone().add_(x)
            elif step == "sub":
                x = x - 2 * before
            elif step == "cat":
                x = torch.cat([x, before] if k else [before, x], 1)
            elif step == "swap":
                parts = x.chunk(2, 1)
                x = torch.cat([parts[1], parts[0]], 1)
            seen.append(x)
        if self.head == "flatten":
            return self.outer(torch.flatten(seen[-1], 1))
        x = seen[-1].mean((2, 3))
        return self.outer(x if self.head == "mean" else F.relu(self.inner(x)))


def randomise(model: nn.Module, generator: torch.Generator) -> nn.Module:
    "Nothing zero or one by construction; batch normalisations keep their running statistics."
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
            nn.init.uniform_(module.weight, 0.5, 1.5, generator)
            nn.init.normal_(module.bias, 0, 0.3, generator)
            nn.init.normal_(module.running_mean, 0, 0.3, generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator)
    return model


plans = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 23)), min_size=2, max_size=9)
examples = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
networks = given(plan=plans, head=st.sampled_from(HEADS), seed=st.integers(0, 99))


def prepare(plan: list[tuple[str, int]], head: str, seed: int) -> tuple[nn.Module, Tensor, torch.Generator]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = randomise(Random(plan, head).double(), generator)
    return model, torch.randn(3, 3, 5, 5, dtype=torch.float64, generator=generator), generator


@torch.no_grad()
def difference(model: nn.Module, expected: Tensor, x: Tensor) -> float:
    "Largest difference relative to the largest output."
    return float((model(x) - expected).abs().max() / expected.abs().max())


def state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-11) -> bool:
    return all(torch.allclose(a[name], b[name], rtol=tolerance, atol=tolerance) for name in a)


@examples
@networks
def test_weights_mode(plan: list, head: str, seed: int) -> None:
    model, x, generator = prepare(plan, head, seed)
    model.eval()
    with torch.no_grad():
        expected = model(x)
    sym = scale_symmetry(model, x)
    first, second = sample_cob(sym, 0.9, "inter_landscape", n=2, generator=generator)
    twin, start = copy.deepcopy(model), state(model)
    assert difference(teleport_(model, sym, first), expected, x) <= 1e-10
    assert difference(teleport_(model, sym, second), expected, x) <= 1e-10
    assert same(state(model), state(teleport_(twin, sym, first * second)))
    assert same(state(undo_(model, sym, first * second)), start)


@examples
@networks
def test_full_mode(plan: list, head: str, seed: int) -> None:
    model, x, generator = prepare(plan, head, seed)
    model.train()
    with torch.no_grad():
        expected = model(x)
    start, wrapped = state(model), Teleported(model, x).train()
    assert difference(wrapped, expected, x) <= 1e-10
    wrapped.random_teleport_(0.9, "inter_landscape", generator=generator)
    assert difference(wrapped, expected, x) <= 1e-10
    wrapped.eval()
    wrapped.undo_()
    assert same(state(model), start)


@examples
@networks
def test_gradient_law(plan: list, head: str, seed: int) -> None:
    "Backpropagation at the new point gives the old gradient divided by the factors, relative to the whole gradient."
    model, x, generator = prepare(plan, head, seed)
    wrapped, y = Teleported(model, x).train(), torch.tensor([0, 1, 2])
    cob = sample_cob(wrapped.sym, 0.9, "inter_landscape", generator=generator)
    expected = grad_after(gradients(wrapped, x, y), wrapped.sym, cob)
    wrapped.teleport_(cob)
    found = gradients(wrapped, x, y)
    size = sum(float(g.square().sum()) for g in expected.values()) ** 0.5
    gap = sum(float((found[k] - g).square().sum()) for k, g in expected.items()) ** 0.5
    assert gap <= 1e-10 * max(size, 1e-8)


def gradients(wrapped: Teleported, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    "The loss's gradient by autograd, under the inner network's names."
    loss = F.cross_entropy(wrapped(x), y)
    found = torch.autograd.grad(loss, list(wrapped.model.parameters()), allow_unused=True, materialize_grads=True)
    return dict(zip((name for name, _ in wrapped.model.named_parameters()), found))


@settings(examples, max_examples=12, phases=(Phase.generate,))
@networks
def test_moved_optimizer_state_trains_as_preconditioned_sgd(plan: list, head: str, seed: int) -> None:
    """Stock SGD with momentum and decay, teleported in the middle with its state, against a loop that never teleports:
    from then on its gradient is divided by the squared factors, its momentum starts from the same buffer. The learning
    rate is small, because an unstable descent would magnify roundings."""
    lr, mu, decay, y = 0.002, 0.9, 0.01, torch.tensor([0, 1, 2])
    model, x, generator = prepare(plan, head, seed)
    wrapped = Teleported(model, x).train()
    optimizer = torch.optim.SGD(model.parameters(), lr, mu, weight_decay=decay)
    for _ in range(5):
        descend(wrapped, optimizer, x, y)
    twin = Teleported(copy.deepcopy(model), x).train()
    names = [name for name, _ in model.named_parameters()]
    buffers = {
        k: optimizer.state[p]["momentum_buffer"].clone() for k, p in model.named_parameters() if optimizer.state[p]
    }
    cob = sample_cob(wrapped.sym, 0.6, "inter_landscape", generator=generator)
    factors = cob_factors(wrapped.sym, cob)
    wrapped.teleport_(cob, optimizer)
    for _ in range(200):
        descend(wrapped, optimizer, x, y)
        grads = gradients(twin, x, y)
        for name, p in twin.model.named_parameters():
            f = factors.get(name, 1.0)
            buffers[name] = mu * buffers.get(name, 0) + grads[name] + decay * f**2 * p.detach()
            p.data -= lr * buffers[name] / f**2
    here, there = dict(model.named_parameters()), dict(twin.model.named_parameters())
    gap = sum(float((here[k] / factors.get(k, 1.0) - there[k]).detach().square().sum()) for k in names) ** 0.5
    assert gap <= 1e-10 * sum(float(p.detach().square().sum()) for p in there.values()) ** 0.5


def descend(wrapped: Teleported, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    "One step; parameters without a gradient get a zero one, so that decay reaches them too."
    optimizer.zero_grad()
    F.cross_entropy(wrapped(x), y).backward()
    for p in wrapped.model.parameters():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    optimizer.step()


def exchange(value: Tensor, classes: Tensor, image: Tensor) -> Tensor:
    "Move the entries along every axis on which the classes vary, so that class c comes to where class image[c] was."
    for axis in range(classes.ndim):
        along = classes.movedim(axis, 0).reshape(classes.shape[axis], -1)
        if not bool((along == along[:1]).all()):
            counts: dict[tuple, list[int]] = {}
            for i, row in enumerate(map(tuple, along.tolist())):
                counts.setdefault(row, []).append(i)
            taken: dict[tuple, int] = dict.fromkeys(counts, 0)
            index = []
            for row in map(tuple, along.tolist()):
                source = tuple(image[list(row)].tolist())
                index.append(counts[source][taken[row]])
                taken[row] += 1
            value = value.index_select(axis, torch.tensor(index))
    return value


def random_image(sym: ScaleSymmetry, generator: torch.Generator) -> Tensor:
    "A permutation of the classes that mixes each group of exchangeable channels."
    n = 1 + max(int(ids.max()) for parts in sym.classes.values() for ids in parts)
    image = torch.arange(n)
    for group in sym.permutations:
        image[group] = group[torch.randperm(len(group), generator=generator)]
    return image


@examples
@networks
def test_permutations(plan: list, head: str, seed: int) -> None:
    model, x, generator = prepare(plan, head, seed)
    model.eval()
    with torch.no_grad():
        expected = model(x)
    sym = scale_symmetry(model, x)
    image = random_image(sym, generator)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for name, parts in sym.classes.items():
        varying = [tuple(n > 1 for n in classes.shape) for classes in parts]
        for classes in (part for i, part in enumerate(parts) if varying[i] not in varying[:i]):  # each axis once
            parameters[name].data = exchange(parameters[name].data, classes, image)
        if f"{name.removesuffix('.weight')}.running_mean" in buffers:
            for key in ("running_mean", "running_var"):
                buffer = buffers[f"{name.removesuffix('.weight')}.{key}"]
                buffer.copy_(exchange(buffer, parts[0], image))
    assert difference(model, expected, x) <= 1e-10


def test_the_random_networks_have_symmetries() -> None:
    plan = [("conv", 2), ("norm", 0), ("relu", 0), ("conv", 2), ("relu", 1), ("add", 3), ("cat", 1), ("depthwise", 0)]
    model, x, _ = prepare(plan, "mean_linear_linear", 0)
    sym = scale_symmetry(model, x)
    assert [step for step, *_ in model.plan] == [step for step, _ in plan]
    assert sym.free >= 12 and sum(len(group) for group in sym.permutations) >= 8

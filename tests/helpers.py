"""Small models and small tools that several test files share."""

import copy

import torch
from torch import Tensor, nn

torch.set_num_threads(1)  # on models this small, a second thread only waits for the first


class TwoTowers(nn.Module):
    """Rectangular linear layers under names that end alike, a norm, and a head: (batch, 6) ↦ (batch, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.ModuleDict({"query": nn.Linear(6, 5), "up": nn.Linear(5, 8, bias=False)})
        self.right = nn.ModuleDict({"query": nn.Linear(6, 4), "up": nn.Linear(4, 8)})
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        towers = (tower["up"](torch.tanh(tower["query"](x))) for tower in (self.left, self.right))
        return self.classifier(self.norm(sum(towers)))


class Nested(nn.Module):
    """Names that end like others: 'up' and 'block.up', 'classifier' and 'pre_classifier' (as in DistilBERT)."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 5)
        self.block = nn.ModuleDict({"up": nn.Linear(5, 4)})
        self.pre_classifier = nn.Linear(4, 7)
        self.classifier = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.tanh(self.pre_classifier(self.block["up"](torch.tanh(self.up(x))))))


def make(kind=TwoTowers, seed=0, dtype=torch.float32, **settings) -> nn.Module:
    torch.manual_seed(seed)
    return kind(**settings).to(dtype)


def randomize(model: nn.Module, seed: int = 1) -> nn.Module:
    """Draw B (and A) of every LoRA layer, so that ΔW is not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".A", ".B")) or name in ("A", "B"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def generic(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything that a failed call must leave alone: values, flags, modes, and the kind of every module."""
    return {
        "state": copy.deepcopy(model.state_dict()),
        "flags": {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)},
        "modules": {name: (type(m), m.training) for name, m in model.named_modules(remove_duplicate=False)},
        "identities": {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)},
        "attributes": set(vars(model)),
    }


def assert_unchanged(model: nn.Module, before: dict[str, object]) -> None:
    now = snapshot(model)
    for key in ("flags", "modules", "identities", "attributes"):
        assert now[key] == before[key], key
    assert_same_state(now["state"], before["state"])


def assert_same_state(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Bit for bit: also -0.0 against 0.0, and nan against nan."""
    assert list(left) == list(right)
    for key in left:
        assert_same_bits(left[key], right[key], key)


def assert_same_bits(left: Tensor, right: Tensor, what: str = "") -> None:
    assert left.dtype == right.dtype and left.shape == right.shape, what
    bytes_left, bytes_right = (t.detach().contiguous().flatten().view(torch.uint8) for t in (left, right))
    assert torch.equal(bytes_left, bytes_right), what

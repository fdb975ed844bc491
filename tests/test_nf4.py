"""Four bits: the levels, the error, every bit counted, and LoRA beside a base that stays packed."""

import copy

import pytest
import torch
from helpers import assert_same_bits, assert_same_state, assert_unchanged, generic, make, snapshot
from hypothesis import given
from hypothesis import strategies as st
from layers_and_variants import IDS, VARIANTS, Mixed, R, alpha_of, shaken
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import (
    NF4Linear,
    QLoRALinear,
    adapter_parameters,
    add_lora,
    list_targets,
    load_adapter,
    loftq,
    lora_layers,
    merge,
    nf4_levels,
    pack,
    quantize,
    remove_lora,
    save_adapter,
    summary,
    train,
    unpack,
)

# From bitsandbytes, as published.
PUBLISHED = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]


# --- the levels ------------------------------------------------------------------------------------------------------


def test_the_levels_are_the_published_sixteen():
    levels = nf4_levels()
    assert levels.shape == (16,) and levels.dtype == torch.float32
    assert (levels.double() - torch.tensor(PUBLISHED, dtype=torch.float64)).abs().max() < 2e-7
    assert levels[0] == -1 and levels[7] == 0 and levels[15] == 1


def test_the_levels_are_what_is_packed_without_error():
    W = nf4_levels().repeat(8) * torch.tensor([1.0, 3.0]).repeat_interleave(64)
    assert torch.equal(unpack(pack(W, double=False)), W)


# --- packing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [False, True])
@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_every_weight_gets_the_nearest_level_of_its_block(double, shape, size, seed):
    W = size * generic(*shape, seed=seed)
    packed = pack(W, double)
    back = unpack(packed)
    assert back.shape == W.shape and back.dtype == W.dtype
    blocks = F.pad(W.flatten(), (0, -W.numel() % 64)).view(-1, 64)
    restored = F.pad(back.flatten(), (0, -W.numel() % 64)).view(-1, 64)
    if not double:
        assert torch.equal(packed.scales, blocks.abs().amax(1))
        least = (blocks[..., None] - packed.scales[:, None, None] * nf4_levels()).abs().amin(-1)
        assert torch.allclose((blocks - restored).abs(), least, rtol=1e-4, atol=1e-6 * size)
    # half of the widest gap between levels, and with 8-bit scales a little more
    bound = (0.153 + 0.15 * double) * (blocks.abs().amax() if double else blocks.abs().amax(1, keepdim=True))
    assert ((blocks - restored).abs() <= bound).all()


def test_the_error_on_normal_weights_is_below_that_of_an_even_grid_and_hardly_grows_with_eight_bit_scales():
    """About 9.2 % of the norm in blocks of 64; an even grid of 16 levels has 10.1 %."""
    W = generic(512, 512)
    errors = {double: ((unpack(pack(W, double)) - W).norm() / W.norm()).item() for double in (False, True)}
    assert 0.09 < errors[False] < 0.095 and errors[True] == pytest.approx(errors[False], rel=0.01)
    blocks = W.view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    even = (((blocks / largest + 1) / 2 * 15).round() / 15 * 2 - 1) * largest
    assert errors[True] < 0.93 * (even - blocks).norm() / W.norm()


def test_every_bit_is_counted():
    W = generic(1024, 1024)
    assert pack(W, double=False).bits_per_parameter == 4 + 32 / 64
    exact = 4 + 8 / 64 + 32 / (64 * 256)
    assert exact == 4.126953125
    assert pack(W).bits_per_parameter == pytest.approx(exact, abs=1e-4)  # and one mean for the whole tensor
    one_mean = 32 / W.numel()
    assert pack(W).bits_per_parameter == exact + one_mean


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_zeros_and_what_was_packed_once_stay_as_they_are(dtype):
    W = generic(40, 50, dtype=dtype)
    W[:, 3] = 0
    once = unpack(pack(W, double=False))
    assert once.dtype == dtype and not once[:, 3].any()
    assert torch.equal(unpack(pack(once, double=False)), once)
    assert not unpack(pack(torch.zeros(5, 30))).any()


@pytest.mark.parametrize(
    ("weight", "kind", "message"),
    [
        (torch.zeros(4, dtype=torch.int8), TypeError, "the weight has dtype torch.int8"),
        (torch.zeros(0, 3), ValueError, r"a weight of shape \(0, 3\) must have entries"),
        (torch.tensor([1.0, float("nan")]), ValueError, "all of them finite"),
    ],
)
def test_what_cannot_be_packed_is_refused(weight, kind, message):
    with pytest.raises(kind, match=message):
        pack(weight)


# --- the layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_layer_computes_with_the_unpacked_weight_and_passes_the_gradient_on(double, dtype):
    linear = make(nn.Linear, dtype=dtype, in_features=70, out_features=50)
    layer = NF4Linear(linear, double)
    x = generic(4, 70, dtype=dtype).requires_grad_()
    y = layer(x)
    y.sum().backward()
    z = x.detach().clone().requires_grad_()
    expected = F.linear(z, unpack(pack(linear.weight, double)), linear.bias)
    expected.sum().backward()
    assert torch.allclose(y, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-2)
    assert torch.allclose(x.grad, z.grad, rtol=1e-2, atol=1e-2)
    assert torch.equal(layer.weight, unpack(pack(linear.weight, double)))


def test_a_packed_layer_keeps_no_weight_for_the_backward_pass():
    layer = NF4Linear(nn.Linear(256, 256, bias=False))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(2, 256, requires_grad=True))
    assert sum(t.numel() for t in kept) == 0
    assert sum(b.nbytes for b in layer.buffers()) == layer.packed.nbytes < 256 * 256 * 4.2 / 8
    assert "bits=4.1" in repr(layer)


def test_a_packed_layer_survives_moves_copies_and_state_dicts():
    layer = NF4Linear(make(nn.Linear, in_features=70, out_features=50))
    before = layer.weight
    other = NF4Linear(make(nn.Linear, seed=5, in_features=70, out_features=50))
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), copy.deepcopy(layer).to(torch.bfloat16)):
        assert_same_bits(twin.weight, before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_lora_beside_a_packed_base_is_lora_beside_the_unpacked_one(variant):
    linear = make(nn.Linear, in_features=70, out_features=50)
    layer = QLoRALinear(copy.deepcopy(linear), R, alpha_of(variant), variant=variant)
    x = generic(4, 70)
    assert isinstance(layer.base, NF4Linear) and torch.equal(layer(x), layer.base(x))
    shaken(layer)
    y = layer(x)
    assert torch.allclose(y, F.linear(x, layer.weight, layer.bias), atol=1e-4)
    y.square().sum().backward()
    trained = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert trained == set(layer.variant.trained()) and all(layer.get_parameter(n).grad.any() for n in trained)
    with pytest.raises(RuntimeError, match="the base is in 4 bits, so a merge would round"):
        layer.merge()


def test_a_quantized_model_is_adapted_trained_saved_and_loaded(tmp_path):
    model = quantize(make(Mixed), "score")
    assert list_targets(model) == ["c_attn", "score"] and isinstance(model.score, NF4Linear)
    plain = model(IDS)
    add_lora(model, ["c_attn", "score"], 2, 4)
    assert isinstance(model.score, QLoRALinear) and torch.equal(model(IDS), plain)
    optimizer = torch.optim.SGD(adapter_parameters(model), lr=0.1)
    for _ in range(2):
        F.cross_entropy(model(IDS), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.any() for p in adapter_parameters(model))
    folder = save_adapter(model, tmp_path)
    fresh = load_adapter(quantize(make(Mixed), "score"), folder)
    assert_same_state(fresh.state_dict(), model.state_dict())
    assert list(lora_layers(load_adapter(make(Mixed), folder))) == ["c_attn", "score"]  # beside the full weights too
    with pytest.raises(RuntimeError, match="the base is in 4 bits"):
        merge(model)
    assert not any(layer.merged for layer in lora_layers(model).values())
    assert torch.equal(remove_lora(model)(IDS), plain)


def test_only_linear_layers_are_quantized():
    model = make(Mixed)
    before = snapshot(model)
    with pytest.raises(TypeError, match="'c_attn': NF4 is for linear layers here, not for Conv1D"):
        quantize(model, ["score", "c_attn"])
    assert_unchanged(model, before)


def test_the_start_of_loftq_is_nearer_to_the_weight_than_packing_alone():
    linear = make(nn.Linear, in_features=96, out_features=80)
    W = linear.weight.detach().clone()
    lost = (unpack(pack(W)) - W).norm()
    errors = [(loftq(linear, r, 16, steps).weight - W).norm() / lost for r, steps in ((8, 1), (8, 5), (32, 1))]
    assert errors[1] < errors[0] < 0.95 and errors[2] < errors[0]
    layer = loftq(linear, 8, 16)
    best = torch.linalg.svdvals(W - layer.base.weight)[8:].norm()
    assert torch.allclose((layer.weight - W).norm(), best, rtol=1e-4)
    assert layer.A.requires_grad and layer.B.requires_grad and torch.equal(linear.weight, W)
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        loftq(linear, 8, 16, steps=0)


def test_the_summary_counts_a_packed_weight_as_its_numbers_and_its_packed_bytes():
    model = nn.Sequential(nn.Linear(128, 64, bias=False))
    before = summary(model)
    after = summary(quantize(model, "0"))
    assert after.total_parameters == before.total_parameters == 128 * 64
    assert after.total_bytes == model[0].packed.nbytes < 0.14 * before.total_bytes
    assert summary(add_lora(model, "0", 2, 4)).trained_parameters == 2 * (128 + 64)


def test_a_checkpoint_of_a_quantized_model_leaves_the_packed_weights_out_and_knows_them(tmp_path):
    def prepared(seed=0):
        model = nn.ModuleDict({"up": nn.Linear(64, 64), "head": nn.Linear(64, 2)})
        for parameter in model.parameters():
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
        return add_lora(quantize(model, "up"), "up", 2, 4)

    def objective(model, batch):
        logits = model["head"](model["up"](batch["x"]))
        return F.cross_entropy(logits, batch["labels"]), logits.argmax(-1) == batch["labels"]

    data = {"x": generic(32, 64), "labels": torch.arange(32) % 2}
    settings = {"objective": objective, "progress": False, "epochs": 2, "checkpoint": tmp_path / "last"}
    first, second = prepared(), prepared()
    train(first, data, **settings)
    assert (tmp_path / "last").stat().st_size < 20_000
    train(second, data, **settings)  # takes all its steps from the checkpoint
    assert_same_state(second.state_dict(), first.state_dict())
    with pytest.raises(ValueError, match=r"comes from another training .*frozen weights"):
        train(prepared(seed=1), data, **settings)

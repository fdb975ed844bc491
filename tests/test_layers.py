"""One adapted layer: the invariants that make it LoRA, in every precision, merged and not."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import assert_same_bits, assert_same_state, generic, make, randomize
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)
from torch.nn.utils import parametrizations

from lora_edu import LoRALinear, add_lora, numerical_rank

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# Two roundings of the weight and one of the output, at the size of the numbers here, times a few.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.01}


def layer_of(r=2, alpha=6.0, dropout=0.0, n_in=7, n_out=5, dtype=torch.float64, bias=True, seed=0, random=True):
    base = make(nn.Linear, seed, dtype, in_features=n_in, out_features=n_out, bias=bias)
    layer = LoRALinear(base, r, alpha, dropout)
    return randomize(layer) if random else layer


# --- the map -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_new_layer_computes_exactly_what_its_base_does(dtype, bias):
    layer = layer_of(dtype=dtype, bias=bias, random=False)
    x = generic(3, 4, 7, dtype=dtype)
    assert torch.equal(layer(x), layer.base(x))
    assert torch.count_nonzero(layer.delta_weight()) == 0


@given(st.integers(1, 6), st.integers(1, 6), st.data(), st.floats(0.1, 100))
def test_forward_is_the_formula_with_alpha_over_r(n_in, n_out, data, alpha):
    r = data.draw(st.integers(1, min(n_in, n_out)))
    layer = layer_of(r, alpha, n_in=n_in, n_out=n_out)
    x = generic(4, n_in, dtype=torch.float64)
    expected = x @ layer.base.weight.T + layer.base.bias + alpha / r * (x @ layer.A.T @ layer.B.T)
    assert torch.allclose(layer(x), expected, rtol=1e-10, atol=1e-10)
    assert torch.allclose(layer.delta_weight(), alpha / r * layer.B @ layer.A, rtol=1e-12)
    assert layer.delta_weight().shape == layer.base.weight.shape == (n_out, n_in)
    assert numerical_rank(layer.delta_weight().detach().numpy()).rank <= r


def test_scaling_is_alpha_over_r_and_nothing_else():
    for r, alpha in [(1, 1), (2, 8), (4, 2), (5, 0.5)]:
        layer = layer_of(r, alpha)
        assert layer.scaling == alpha / r
        assert torch.allclose(layer.delta_weight() * r / alpha, layer.B @ layer.A)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (0, 7)])
def test_any_number_of_leading_axes_is_kept(shape):
    assert layer_of()(generic(*shape, dtype=torch.float64)).shape == (*shape[:-1], 5)


def test_a_starts_uniform_on_one_over_root_in_and_b_at_zero():
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(400, 300), 64, 8)
    bound = 1 / math.sqrt(400)
    values = layer.A.detach().flatten() / bound
    n = len(values)  # 25,600 draws: mean and variance of U(-1, 1) within 4 standard errors
    assert values.abs().max() <= 1 and values.abs().max() > 0.999
    assert abs(values.mean()) < 4 * math.sqrt(1 / 3 / n)
    assert abs(values.var() - 1 / 3) < 4 * math.sqrt(4 / 45 / n)
    assert torch.count_nonzero(layer.B) == 0
    first = layer.A.clone()
    layer.reset_parameters()
    assert not torch.equal(first, layer.A)


# --- gradients ---------------------------------------------------------------------------------------------------


def test_gradients_are_the_closed_forms():
    """∂L/∂A = s·Bᵀ·G and ∂L/∂B = s·G·Aᵀ, with G = ∂L/∂W, the gradient that full fine-tuning would see."""
    layer = layer_of(r=3, alpha=2.0)
    x, target = generic(9, 7, dtype=torch.float64), generic(9, 5, seed=3, dtype=torch.float64)
    F.mse_loss(torch.tanh(layer(x)), target).backward()
    W = (layer.base.weight + layer.delta_weight()).detach().requires_grad_()
    F.mse_loss(torch.tanh(F.linear(x, W, layer.base.bias)), target).backward()
    s, G = layer.scaling, W.grad
    assert torch.allclose(layer.A.grad, s * layer.B.T @ G, rtol=1e-10, atol=1e-14)
    assert torch.allclose(layer.B.grad, s * G @ layer.A.T, rtol=1e-10, atol=1e-14)
    assert layer.base.weight.grad is None and layer.base.bias.grad is None


def test_at_the_start_only_b_moves_and_after_one_step_a_does_too():
    layer = layer_of(random=False)
    x = generic(9, 7, dtype=torch.float64)
    layer(x).square().sum().backward()
    assert torch.count_nonzero(layer.A.grad) == 0
    assert torch.count_nonzero(layer.B.grad) == layer.B.numel()
    torch.optim.SGD([layer.A, layer.B], lr=0.01).step()
    layer(x).square().sum().backward()
    assert torch.count_nonzero(layer.A.grad) == layer.A.numel()


def test_gradients_agree_with_finite_differences():
    layer = layer_of(r=2, n_in=4, n_out=3)
    x = generic(2, 4, dtype=torch.float64).requires_grad_()

    def through(x, A, B):
        return torch.func.functional_call(layer, {"A": A, "B": B}, (x,))

    assert torch.autograd.gradcheck(through, (x, layer.A.detach().requires_grad_(), layer.B.detach().requires_grad_()))


# --- dropout -----------------------------------------------------------------------------------------------------


def test_dropout_acts_only_in_training_and_only_on_the_way_to_a():
    layer, plain = layer_of(dropout=0.5), layer_of()
    x = generic(64, 7, dtype=torch.float64)
    assert torch.equal(layer.eval()(x), plain(x))
    layer.train()
    torch.manual_seed(3)
    noisy = layer(x)
    torch.manual_seed(3)
    dropped = F.dropout(x, 0.5, training=True)
    assert torch.allclose(noisy, layer.base(x) + layer.scaling * dropped @ layer.A.T @ layer.B.T)
    with torch.no_grad():
        layer.B.zero_()
    assert torch.equal(layer(x), layer.base(x))


def test_dropout_leaves_the_mean_of_the_update_as_it_is():
    layer = layer_of(dropout=0.25).train()
    x = generic(1, 7, dtype=torch.float64).expand(20_000, 7)
    torch.manual_seed(0)
    with torch.no_grad():
        update = layer(x) - layer.base(x)
        exact = (x[0] @ layer.delta_weight().T).expand_as(update)
    standard_error = update.std(dim=0) / math.sqrt(len(x))
    assert ((update.mean(dim=0) - exact[0]).abs() < 5 * standard_error).all()


# --- merging -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_merge_then_forward_equals_forward(dtype):
    layer = layer_of(dtype=dtype)
    x = generic(16, 7, dtype=dtype)
    before = layer(x)
    layer.merge()
    assert layer.merged and torch.equal(layer(x), layer.base(x))
    assert torch.allclose(layer(x), before, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert layer(x).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_unmerge_restores_the_base_bit_for_bit(dtype):
    layer = layer_of(dtype=dtype)
    with torch.no_grad():
        layer.base.weight[0, 0] = -0.0
        layer.B.mul_(1e3)  # W₀ + ΔW − ΔW would lose digits of W₀ here
    before, parameter, x = layer.base.weight.clone(), layer.base.weight, generic(4, 7, dtype=dtype)
    adapted = layer(x)
    for _ in range(3):
        layer.merge()
        layer.merge()  # a second merge does nothing
        assert not torch.equal(layer.base.weight, before)
        layer.unmerge()
        layer.unmerge()
        assert layer.base.weight is parameter and not layer.merged
        assert_same_bits(layer.base.weight, before)
    assert torch.equal(layer(x), adapted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_merged_weight_is_the_effective_weight_rounded_once(dtype):
    layer = layer_of(dtype=dtype)
    exact = layer.base.weight.double() + layer.delta_weight().double()
    effective = layer.weight
    layer.merge()
    assert_same_bits(layer.base.weight, effective)
    assert layer.weight is layer.base.weight
    if dtype.itemsize == 2:  # the sum is made in float32, whose own rounding moves no 8- or 11-bit result here
        assert torch.equal(layer.base.weight, exact.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_base_keeps_float32_factors(dtype):
    layer = layer_of(dtype=dtype)
    assert layer.A.dtype == layer.B.dtype == layer.delta_weight().dtype == torch.float32
    layer(generic(3, 7, dtype=dtype)).sum().backward()
    assert layer.A.grad.dtype == torch.float32
    assert layer_of(dtype=torch.float64).A.dtype == torch.float64


def test_what_is_learned_after_a_merge_is_undone_stays():
    layer = layer_of()
    x = generic(4, 7, dtype=torch.float64)
    layer.merge()
    layer.unmerge()
    with torch.no_grad():
        layer.B.mul_(2)
    delta = layer.delta_weight()
    assert torch.allclose(layer(x), layer.base(x) + x @ delta.T)


def test_merging_keeps_grad_modes_and_flags():
    layer = layer_of()
    layer.merge()
    assert layer.base.weight.requires_grad is False and layer.base.weight.is_leaf
    layer.unmerge()
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["A", "B"]


@pytest.mark.parametrize("move", [torch.float32, torch.bfloat16, torch.float64])
def test_a_merged_layer_that_is_moved_to_another_dtype_unmerges_there(move):
    layer = layer_of(dtype=torch.float32)
    before = layer.base.weight.clone()
    layer.merge()
    layer.to(move)
    stored = layer.state_dict()["base.weight"]
    layer.unmerge()
    assert_same_bits(layer.base.weight, before.to(move))
    assert_same_bits(stored, before.to(move))


# --- copies and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_a_copy_computes_the_same_and_can_be_unmerged(way, merged):
    layer = layer_of(dropout=0.1).eval()
    before = layer.base.weight.clone()
    if merged:
        layer.merge()
    if way == "deepcopy":
        twin = copy.deepcopy(layer)
    elif way == "pickle":
        twin = pickle.loads(pickle.dumps(layer))
    else:
        stream = io.BytesIO()
        torch.save(layer, stream)
        stream.seek(0)
        twin = torch.load(stream, weights_only=False)
    x = generic(3, 7, dtype=torch.float64)
    assert torch.equal(twin(x), layer(x)) and twin.merged is merged
    twin.unmerge()
    assert_same_bits(twin.base.weight, before)
    assert layer.merged is merged  # the copy is its own
    assert twin.base.weight.data_ptr() != layer.base.weight.data_ptr()


def test_a_state_dict_is_the_same_merged_or_not():
    layer = layer_of()
    holder = nn.Sequential(layer, nn.Linear(5, 2).double())
    before = copy.deepcopy(holder.state_dict())
    layer.merge()
    assert_same_state(holder.state_dict(), before)
    assert list(before) == ["0.A", "0.B", "0.base.weight", "0.base.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize("from_merged", [False, True])
@pytest.mark.parametrize("into_merged", [False, True])
def test_a_state_dict_never_counts_the_update_twice(from_merged, into_merged):
    source, target = layer_of(), randomize(layer_of(seed=5), seed=6)
    x = generic(3, 7, dtype=torch.float64)
    expected = source(x)
    if from_merged:
        source.merge()
    if into_merged:
        target.merge()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target(x), expected)
    target.merge()
    assert torch.allclose(target(x), expected, atol=1e-12)
    target.unmerge()
    assert_same_bits(target.base.weight, layer_of().base.weight)


# --- company -----------------------------------------------------------------------------------------------------


def test_torch_compile_sees_one_graph():
    layer = layer_of(dtype=torch.float32)
    x = generic(3, 7)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), layer(x))


def test_autocast_runs_the_layer_in_bfloat16_and_trains_float32_factors():
    layer = layer_of(dtype=torch.float32)
    x = generic(8, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), layer(x), rtol=0.05, atol=0.1)
    y.float().square().sum().backward()
    assert layer.A.grad.dtype == torch.float32 and layer.A.grad.abs().sum() > 0


def test_the_bias_is_the_one_of_the_base():
    assert layer_of(bias=False).bias is None
    layer = layer_of()
    assert layer.bias is layer.base.bias


def test_its_representation_names_what_matters():
    layer = layer_of(r=2, alpha=6)
    assert "r=2, alpha=6, scaling=3, merged=False" in repr(layer)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("r", "alpha", "dropout", "kind", "message"),
    [
        (0, 1, 0, ValueError, "rank r=0 must be at least 1"),
        (-1, 1, 0, ValueError, "rank r=-1 must be at least 1"),
        (6, 1, 0, ValueError, r"rank r=6 exceeds min\(in_features, out_features\)=5"),
        (True, 1, 0, TypeError, "rank r=True must be an integer, not bool"),
        (2.0, 1, 0, TypeError, r"rank r=2\.0 must be an integer, not float"),
        ("8", 1, 0, TypeError, "rank r='8' must be an integer, not str"),
        (2, 0, 0, ValueError, "alpha=0 must be a finite number above 0"),
        (2, -4, 0, ValueError, "alpha=-4 must be a finite number above 0"),
        (2, math.nan, 0, ValueError, "alpha=nan must be a finite number above 0"),
        (2, math.inf, 0, ValueError, "alpha=inf must be a finite number above 0"),
        (2, 10**400, 0, ValueError, "must be a finite number above 0"),
        (2, "16", 0, TypeError, "alpha='16' must be a number, not str"),
        (2, None, 0, TypeError, "alpha=None must be a number, not NoneType"),
        (2, True, 0, TypeError, "alpha=True must be a number, not bool"),
        (2, np.float32(4), 0, TypeError, "must be a number, not float32"),  # JSON could not hold it
        (2, 4, 1.0, ValueError, r"dropout=1\.0 must be at least 0 and below 1"),
        (2, 4, -0.1, ValueError, r"dropout=-0\.1 must be at least 0 and below 1"),
        (2, 4, math.nan, ValueError, "dropout=nan must be at least 0 and below 1"),
        (2, 4, "0.1", TypeError, r"dropout='0\.1' must be a number, not str"),
    ],
)
def test_hyperparameters_out_of_range_are_refused_and_the_base_stays_trainable(r, alpha, dropout, kind, message):
    base = nn.Linear(7, 5)
    with pytest.raises(kind, match=message):
        LoRALinear(base, r, alpha, dropout)
    assert base.weight.requires_grad and base.bias.requires_grad


@pytest.mark.parametrize("base", [nn.Conv1d(3, 4, 2), nn.Embedding(5, 4), nn.Identity()])
def test_only_linear_layers_are_adapted(base):
    with pytest.raises(TypeError, match=f"LoRALinear adapts an nn.Linear, not a {type(base).__name__}"):
        LoRALinear(base, 2, 4)


def test_a_layer_is_not_adapted_twice():
    with pytest.raises(TypeError, match="the layer is a LoRALinear already"):
        LoRALinear(layer_of(), 2, 4)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64])
def test_an_integer_weight_is_refused_with_its_dtype(dtype):
    base = nn.Linear(7, 5)
    base.weight = nn.Parameter(base.weight.to(dtype), requires_grad=False)
    with pytest.raises(TypeError, match=f"the base weight has dtype {dtype}"):
        LoRALinear(base, 2, 4)


def test_a_weight_that_is_computed_from_others_is_refused():
    # There is no W₀ to merge into: the next forward pass would compute it anew.
    base = parametrizations.weight_norm(nn.Linear(7, 5))
    with pytest.raises(TypeError, match=r"computed from others .* remove the parametrization first"):
        LoRALinear(base, 2, 4)
    model = nn.Sequential(nn.Linear(4, 7), base)
    with pytest.raises(TypeError, match="'1': the base weight is computed"):
        add_lora(model, ".*", r=2, alpha=4)


@pytest.mark.parametrize("shape", [(3, 5), (7, 1), (6,), ()])
@pytest.mark.parametrize("merged", [False, True])
def test_an_input_of_another_width_is_refused_with_both_numbers(shape, merged):
    layer = layer_of()
    if merged:
        layer.merge()
    with pytest.raises(ValueError, match=r"input of shape \(.*\): the last axis must be in_features=7"):
        layer(torch.zeros(shape, dtype=torch.float64))

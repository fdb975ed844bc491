"""The invariants on lora_edu and on peft in the same test. What peft does otherwise stands here with its size.

A test that records a deviation of peft fails when peft mends it: then the chapter that shows it has to follow.
"""

import copy
import math
import warnings

import pytest
import torch
from helpers import assert_same_bits, generic
from layers_and_variants import KINDS, R, base_of, close, fresh, shaken, trained_of
from test_peft_variants import PAIRS, SETTINGS, config_of, in_peft, peft, tensors_in_peft
from torch import nn

from lora_edu import AdapterBank, LoRAConv2d, load_adapter, numerical_rank, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore")

in_lora = [(kind, variant) for kind, variant in PAIRS if variant != "vera"]


def trained_in_peft(kind, variant, dtype=torch.float32):
    model, layer = in_peft(kind, variant, dtype)
    return shaken(model), layer


def relative(actual, expected):
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
def test_every_adapter_tensor_gets_gradient_and_nothing_else_does(kind, variant):
    x = KINDS[kind].x(torch.float32)
    for model in (shaken(fresh(kind, variant, torch.float32)), trained_in_peft(kind, variant)[0]):
        y = model(x)
        (y * generic(*y.shape)).sum().backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name
    assert set(trained_of(fresh(kind, variant))) == set(fresh(kind, variant).variant.trained())


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
def test_the_products_of_the_factors_have_rank_r_at_most(kind, variant):
    ours = shaken(fresh(kind, variant))
    theirs = trained_in_peft(kind, variant)[1].get_delta_weight("default")
    product = (ours.B @ ours.A).detach() if variant != "vera" else ours.delta_weight().detach()
    for matrix in (product, ours.as_matrix(theirs.detach())):
        assert numerical_rank(matrix.double().numpy(), tolerance=1e-5 * float(matrix.norm())).rank <= R


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unmerge_restores_the_base_bit_for_bit_here_and_not_in_peft(kind, variant, dtype):
    ours = shaken(fresh(kind, variant, dtype))
    before = ours.base.weight.clone()
    ours.merge()
    ours.unmerge()
    assert_same_bits(ours.base.weight, before)
    _, theirs = trained_in_peft(kind, variant, dtype)
    before = theirs.base_layer.weight.clone()
    theirs.merge()
    theirs.unmerge()
    assert variant == "vera" or not torch.equal(theirs.base_layer.weight, before)  # its update is small enough here
    error = relative(theirs.base_layer.weight.double(), before.double())
    assert error < (1e-6 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("variant", ["pissa", "olora"])
def test_a_start_from_the_base_is_exact_here_and_rounds_the_base_in_peft(variant):
    for dtype, least, most in ((torch.float32, 1e-8, 1e-6), (torch.bfloat16, 1e-3, 2e-2)):
        base, x = base_of("Linear", dtype), KINDS["Linear"].x(dtype)
        with torch.no_grad():
            assert torch.equal(fresh("Linear", variant, dtype)(x), base(x))
            assert least < relative(in_peft("Linear", variant, dtype)[0](x).double(), base(x).double()) < most


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
def test_saved_and_loaded_is_bit_exact(tmp_path, kind, variant):
    x = KINDS[kind].x(torch.float32)
    ours = nn.Sequential(shaken(fresh(kind, variant, torch.float32)))
    save_adapter(ours, tmp_path / "ours")
    assert_same_bits(load_adapter(nn.Sequential(base_of(kind, torch.float32)), tmp_path / "ours")(x), ours(x))
    theirs, _ = trained_in_peft(kind, variant)
    theirs.save_pretrained(tmp_path / "theirs")
    base = nn.Sequential(base_of(kind, torch.float32))
    assert_same_bits(peft.PeftModel.from_pretrained(base, tmp_path / "theirs").eval()(x), theirs(x))


# --- a single adapter at weight 1 is itself --------------------------------------------------------------------------


def weighted(variant, r, how, weights=(1.0,)):
    """(what the adapters add, weighted; what peft's weighted adapter adds), on a layer of 24 × 32."""
    torch.manual_seed(0)
    base = nn.Linear(32, 24)
    config = peft.LoraConfig(r=r, lora_alpha=8, target_modules=["0"], **SETTINGS[variant])
    model = peft.get_peft_model(nn.Sequential(copy.deepcopy(base)), config)
    names = ["default", *"bcd"[: len(weights) - 1]]
    for name in names[1:]:
        model.add_adapter(name, config)
    shaken(model.train().requires_grad_(False))
    generator = torch.Generator().manual_seed(1)
    x, total = generic(9, 32), 0
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, weight in zip(names, weights, strict=True):
            model.set_adapter(name)
            total = total + weight * (model(x) - base(x))
        model.add_weighted_adapter(
            names, list(weights), "sum", combination_type=how, svd_rank=r if how == "svd" else None
        )
        model.set_adapter("sum")
        return total, model(x) - base(x)


@pytest.mark.parametrize("how", ["cat", "linear", "svd"])
@pytest.mark.parametrize("r", [4, 9])
def test_peft_loses_the_root_of_r_in_a_weighted_rslora(how, r):
    """The new adapter inherits use_rslora and gets alpha = r, so its scaling is √r where 1 is meant."""
    assert relative(*reversed(weighted("rslora", r, how))) == pytest.approx(math.sqrt(r) - 1, rel=1e-3)
    assert relative(*reversed(weighted("lora", r, how))) < 1e-6


@pytest.mark.parametrize("how", ["cat", "linear", "svd"])
@pytest.mark.parametrize("variant", ["dora", "pissa", "olora", "rslora+dora"])
def test_peft_returns_another_adapter_than_the_one_of_weight_one(how, variant):
    """DoRA: the magnitudes start anew. PiSSA and OLoRA: the new adapter takes its start out of the base once more."""
    assert relative(*reversed(weighted(variant, 4, how))) > 0.03


@pytest.mark.parametrize("variant", ["pissa", "olora"])
def test_a_weighted_adapter_changes_the_base_of_peft_and_with_it_the_first_adapter(variant):
    model, layer = trained_in_peft("Linear", variant)
    x = KINDS["Linear"].x(torch.float32)
    with torch.no_grad():
        before, weight = model(x), layer.base_layer.weight.clone()
        model.add_weighted_adapter(["default"], [1.0], "sum", combination_type="cat")
        model.set_adapter("default")
        assert not torch.allclose(layer.base_layer.weight, weight, atol=1e-3)
        assert relative(model(x), before) > 0.03


def test_only_factors_side_by_side_are_the_sum_of_two():
    errors = {how: relative(*reversed(weighted("lora", 4, how, (0.5, 0.5)))) for how in ("cat", "linear", "svd")}
    assert errors["cat"] < 1e-6
    assert errors["linear"] > 0.5  # √½A₁ + √½A₂ times the same of B has cross terms
    assert errors["svd"] > 0.1  # rank 4 of a sum of rank 8, which is what was asked for


@pytest.mark.parametrize(("kind", "variant"), in_lora)
def test_in_the_bank_one_adapter_at_weight_one_is_itself(kind, variant):
    bank = AdapterBank(nn.Sequential(base_of(kind, torch.float32)))
    shaken(bank.add("a", "0", R, 6, variant=variant))
    x = KINDS[kind].x(torch.float32)
    expected = bank.model(x)
    assert_same_bits(bank.use({"a": 1.0})(x), expected)
    bank.combine("sum", {"a": 1.0})
    assert_same_bits(bank.use("sum")(x), expected)


# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [{"dilation": 2, "padding": "same"}, {"padding": 1, "padding_mode": "circular"}])
def test_peft_forgets_the_dilation_and_the_way_of_padding_of_a_convolution(setting):
    """Its A is a new convolution with neither, so what it trains is not what it merges."""
    torch.manual_seed(0)
    base, x = nn.Conv2d(3, 5, 3, **setting), generic(2, 3, 8, 7)
    with torch.no_grad():
        model = shaken(peft.get_peft_model(nn.Sequential(copy.deepcopy(base)), config_of("lora")))
        trained = model(x) - base(x)
        model.merge_adapter()
        assert relative(model(x) - base(x), trained) > 0.1
        ours = shaken(LoRAConv2d(copy.deepcopy(base), R, 6))
        trained = ours(x) - base(x)
        ours.merge()
        assert close(ours(x) - base(x), trained, torch.float32)


def test_peft_has_no_olora_beside_conv1d():
    model, _ = in_peft("Conv1D", "olora")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(KINDS["Conv1D"].x(torch.float32))
    assert fresh("Conv1D", "olora").A.shape == (R, 7)


def test_peft_takes_pissa_for_an_embedding_and_starts_it_as_plain_lora():
    assert not tensors_in_peft(in_peft("Embedding", "pissa")[1])["A"].any()
    assert fresh("Embedding", "pissa").A.any()

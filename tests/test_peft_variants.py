"""Every layer and variant that peft has as well, side by side: the same tensors give the same numbers."""

import warnings

import pytest
import torch
from helpers import generic
from layers_and_variants import KINDS, R, alpha_of, base_of, close, fresh, shaken, trained_of
from torch import nn

from lora_edu import LoRALinear, add_lora

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of peft about Conv1D and its own future

SETTINGS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "rslora+dora": {"use_rslora": True, "use_dora": True},
    "rslora+pissa": {"use_rslora": True, "init_lora_weights": "pissa"},
    "dora+olora": {"use_dora": True, "init_lora_weights": "olora"},
}
# peft knows starts from the base for linear layers only, and VeRA too; for OLoRA on Conv1D see the last tests.
PAIRS = [
    (kind, variant)
    for kind in KINDS
    for variant in [*SETTINGS, "vera"]
    if KINDS[kind].in_peft
    and (kind.startswith("Linear") or not ("vera" in variant or "olora" in variant or "pissa" in variant))
]
PAIRS += [("Conv1D", variant) for variant in ("pissa", "rslora+pissa", "vera")]


def config_of(variant):
    if variant == "vera":
        return peft.VeraConfig(r=R, target_modules=["0"])
    return peft.LoraConfig(r=R, lora_alpha=alpha_of(variant), target_modules=["0"], **SETTINGS[variant])


def in_peft(kind, variant, dtype=torch.float32):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            nn.Sequential(base_of(kind, dtype)), config_of(variant), autocast_adapter_dtype=True
        )
    return model.eval(), model.base_model.model[0]


def tensors_in_peft(layer):
    """peft's tensors of one layer under our names."""
    table = {"A": ("lora_A", "lora_embedding_A", "vera_A"), "B": ("lora_B", "lora_embedding_B", "vera_B")}
    table |= {"m": ("lora_magnitude_vector",), "b": ("vera_lambda_b",), "d": ("vera_lambda_d",)}
    found = {}
    for ours, names in table.items():
        for name in names:
            holder = getattr(layer, name, None)
            if holder is not None and "default" in holder:
                found[ours] = getattr(holder["default"], "weight", holder["default"])
    return found


def copied(kind, variant, dtype=torch.float32):
    """Ours after some training, and peft's with the same tensors."""
    ours = shaken(fresh(kind, variant, dtype))
    model, theirs = in_peft(kind, variant, dtype)
    with torch.no_grad():
        for name, tensor in tensors_in_peft(theirs).items():
            tensor.copy_(getattr(ours, name).detach().view(tensor.shape))
    return ours, model, theirs


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_tensors_give_the_same_output_and_the_same_merged_weight(kind, variant, dtype):
    ours, model, theirs = copied(kind, variant, dtype)
    x = KINDS[kind].x(dtype)
    with torch.no_grad():
        assert close(ours(x), model(x), dtype, factor=3 if dtype == torch.bfloat16 else 1)
        theirs.merge()
        ours.merge()
        assert close(ours.base.weight, theirs.base_layer.weight, dtype)
        assert close(ours(x), model(x), dtype, factor=3 if dtype == torch.bfloat16 else 1)


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
def test_the_same_tensors_get_the_same_gradients(kind, variant):
    ours, model, theirs = copied(kind, variant)
    x = KINDS[kind].x(torch.float32)
    for each in (ours, model):
        y = each(x)
        (y * generic(*y.shape)).sum().backward()
    for name, parameter in trained_of(ours).items():
        other = tensors_in_peft(theirs)[name].grad
        assert torch.allclose(
            parameter.grad, other.view(parameter.shape), rtol=1e-3, atol=1e-4 * float(other.abs().max())
        )


@pytest.mark.parametrize(("kind", "variant"), PAIRS)
def test_both_start_at_the_base_with_equal_counts(kind, variant):
    ours, (model, theirs), x = fresh(kind, variant, torch.float32), in_peft(kind, variant), KINDS[kind].x(torch.float32)
    with torch.no_grad():
        assert torch.equal(ours(x), ours.base(x))
        assert close(model(x), ours.base(x), torch.float32)  # peft changes the base for PiSSA, which rounds
    assert sum(p.numel() for p in trained_of(ours).values()) == model.get_nb_trainable_parameters()[0]
    start = {name: tensor for name, tensor in tensors_in_peft(theirs).items() if name not in ("A", "B")}
    for name, tensor in start.items():
        assert torch.allclose(getattr(ours, name), tensor.view(getattr(ours, name).shape))


@pytest.mark.parametrize("variant", ["pissa", "olora", "rslora+pissa"])
def test_starts_from_the_base_are_those_of_peft_up_to_signs(variant):
    ours, (_, theirs) = fresh("Linear", variant, torch.float32), in_peft("Linear", variant)
    mine, other = ours.B @ ours.A, theirs.lora_B["default"].weight @ theirs.lora_A["default"].weight
    assert torch.allclose(mine, other, atol=1e-5)
    residual = ours.base.weight + ours.scaling * ours.minus_B0 @ ours.A0
    assert torch.allclose(residual, theirs.base_layer.weight, atol=1e-5)


def test_vera_draws_the_very_pair_that_peft_draws_from_the_same_key():
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 8))

    ours = add_lora(model(), ".*", 2, 2, variant="vera")
    theirs = peft.get_peft_model(model(), peft.VeraConfig(r=2, target_modules=["0", "1"])).base_model
    for layer, other in zip(ours, theirs.model, strict=True):
        assert torch.equal(layer.A, other.vera_A["default"][:, : layer.in_features])
        assert torch.equal(layer.B, other.vera_B["default"][: layer.out_features])


# --- what peft does otherwise, so that we notice when it changes ----------------------------------------------------


def test_peft_has_no_number_for_dora_beside_a_row_of_zeros():
    base = base_of("Linear", torch.float32)
    with torch.no_grad():
        base.weight[1] = 0
    x = KINDS["Linear"].x(torch.float32)
    theirs = peft.get_peft_model(nn.Sequential(base), config_of("dora"))
    assert theirs(x)[..., 1].isnan().all()
    plain = base_of("Linear", torch.float32)
    with torch.no_grad():
        plain.weight[1] = 0
    assert LoRALinear(plain, R, 6, variant="dora")(x).isfinite().all()

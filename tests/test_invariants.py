"""The invariants that make a layer LoRA: one suite for every layer × every variant × every precision."""

import copy
import math
import pickle

import pytest
import torch
from helpers import assert_same_bits, assert_same_state, generic
from layers_and_variants import (
    DTYPES,
    KINDS,
    VARIANTS,
    R,
    alpha_of,
    base_of,
    close,
    fresh,
    shaken,
    trained_of,
    twin_of,
)
from torch.utils.checkpoint import checkpoint

from lora_edu import LoRALinear, numerical_rank

every_kind = pytest.mark.parametrize("kind", KINDS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def dense_gradients(layer, kind, x, cotangent):
    """G = ∂L/∂W of the effective weight W, as full fine-tuning would see it, in the matrix's own shape (out, in)."""
    W = layer.weight.detach().requires_grad_()
    (KINDS[kind].dense(x, W, layer.bias) * cotangent).sum().backward()
    return layer.as_matrix(W.grad)


@every_kind
@every_variant
@every_dtype
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_step_zero_is_the_identity_to_the_last_bit(kind, variant, dtype, dropout):
    layer, x = fresh(kind, variant, dtype, dropout).train(), KINDS[kind].x(dtype)
    assert torch.equal(layer(x), layer.base(x))
    assert layer(x).dtype == dtype
    assert torch.equal(layer.weight, layer.base.weight)
    assert_same_bits(layer.base.weight, base_of(kind, dtype).weight)


@every_kind
@every_variant
@every_dtype
def test_every_adapter_tensor_gets_gradient_and_nothing_else_does(kind, variant, dtype):
    layer, x = shaken(fresh(kind, variant, dtype)), KINDS[kind].x(dtype)
    assert set(trained_of(layer)) == set(layer.variant.trained())
    y = layer(x)
    (y * generic(*y.shape, dtype=dtype)).sum().backward()
    for name, parameter in layer.named_parameters():
        if name in trained_of(layer):
            # A token that does not occur has no gradient; all occur.
            assert torch.count_nonzero(parameter.grad) >= 0.9 * parameter.numel(), name
            assert parameter.grad.dtype == parameter.dtype != torch.bfloat16
        else:
            assert parameter.grad is None, name


@every_kind
@every_variant
def test_the_update_has_rank_r_at_most_for_each_of_its_terms(kind, variant):
    layer = shaken(fresh(kind, variant))
    delta = layer.as_matrix(layer.delta_weight()).detach()
    terms = layer.variant.terms(layer)
    for rows, _, _ in layer.blocks():
        assert numerical_rank(delta[rows].numpy()).rank <= R * len(terms)
    assert len(terms) == (2 if "pissa" in variant or "olora" in variant else 1)
    expected = sum(scaling * (layer.full(B) @ A) for scaling, B, A in terms)
    assert torch.equal(delta, expected)


@every_kind
@every_variant
@every_dtype
def test_forward_is_the_dense_layer_with_the_effective_weight(kind, variant, dtype):
    layer, x = shaken(fresh(kind, variant, dtype)), KINDS[kind].x(dtype)
    assert close(layer(x), KINDS[kind].dense(x, layer.weight, layer.bias), dtype)
    assert not torch.equal(layer(x), layer.base(x))


@every_kind
@every_variant
@every_dtype
def test_merge_then_forward_equals_forward_and_unmerge_restores_the_base(kind, variant, dtype):
    layer, x = shaken(fresh(kind, variant, dtype)), KINDS[kind].x(dtype)
    before, parameter, adapted = copy.deepcopy(layer.state_dict()), layer.base.weight, layer(x)
    layer.merge()
    assert layer.merged and torch.equal(layer(x), layer.base(x))
    assert close(layer(x), adapted, dtype)
    assert_same_state(layer.state_dict(), before)
    layer.unmerge()
    assert layer.base.weight is parameter and torch.equal(layer(x), adapted)
    assert_same_state(layer.state_dict(), before)
    assert_same_bits(layer.base.weight, base_of(kind, dtype).weight)


@every_kind
@every_variant
def test_gradients_equal_the_closed_forms(kind, variant):
    r"""With G = ∂L/∂W and g the gain: ∂L/∂A = s Bᵀ(gG), ∂L/∂B = s (gG)Aᵀ, and m, b, d by their own rules."""
    layer, x = shaken(fresh(kind, variant)), KINDS[kind].x(torch.float64)
    y = layer(x)
    cotangent = generic(*y.shape, dtype=torch.float64, seed=5)
    (y * cotangent).sum().backward()
    G = dense_gradients(layer, kind, x, cotangent)
    V = layer.as_matrix(layer.base.weight + layer.delta_weight()).detach()
    norms, rows, s = V.norm(dim=1), layer.adapted_rows(), layer.scaling
    expected = {}
    if "dora" in variant:
        expected["m"] = ((G * V).sum(1) / norms)[rows]
        gain = torch.ones_like(norms)
        gain[rows] = layer.m.detach() / norms[rows]
        G = gain[:, None] * G
    A, B = layer.A.detach(), layer.full(layer.B.detach())
    if variant == "vera":
        scaled_B, scaled_A = layer.full(layer.b.detach()[:, None] * layer.B), layer.d.detach()[:, None] * A
        expected["b"] = (layer.full(layer.B) * (G @ scaled_A.T)).sum(1)[rows]
        expected["d"] = (A * (scaled_B.T @ G)).sum(1)
    else:
        expected["A"] = s * B.T @ G
        # What B may not change, the zeros outside its blocks, has no gradient.
        blocks = [s * G[part] @ a.T for part, a, _ in layer.blocks()]
        expected["B"] = torch.cat(blocks).detach()
    for name in layer.variant.trained():
        assert torch.allclose(layer.get_parameter(name).grad, expected[name], rtol=1e-9, atol=1e-12), name


@every_kind
@every_variant
@every_dtype
def test_a_state_dict_goes_round_and_a_copy_is_its_own(kind, variant, dtype):
    source, x = shaken(fresh(kind, variant, dtype)), KINDS[kind].x(dtype)
    target = shaken(fresh(kind, variant, dtype, seed=9), seed=8)
    assert not torch.equal(target(x), source(x))
    target.load_state_dict(source.state_dict())
    assert_same_bits(target(x), source(x))
    for copied in (twin_of(source), pickle.loads(pickle.dumps(source))):
        assert_same_bits(copied(x), source(x))
        assert_same_state(copied.state_dict(), source.state_dict())
        shaken(copied)
    assert_same_bits(target(x), source(x))


@every_kind
@every_variant
def test_gradient_checkpointing_and_autocast_train_the_same_tensors(kind, variant):
    layer, x = shaken(fresh(kind, variant, torch.float32)), KINDS[kind].x(torch.float32)

    def gradients(run):
        layer.zero_grad()
        y = run()
        (y.float() * generic(*y.shape)).sum().backward()
        return {name: parameter.grad.clone() for name, parameter in trained_of(layer).items()}

    plain = gradients(lambda: layer(x))
    assert_same_state(gradients(lambda: checkpoint(layer, x, use_reentrant=False)), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gradients(lambda: layer(x))
        assert kind == "Embedding" or layer(x).dtype == torch.bfloat16
    for name, gradient in plain.items():
        assert half[name].dtype == torch.float32
        assert (half[name] - gradient).norm() < 0.05 * gradient.norm(), name


@every_variant
def test_torch_compile_sees_one_graph(variant):
    layer, x = shaken(fresh("Linear", variant, torch.float32)), KINDS["Linear"].x(torch.float32)
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


@every_kind
@every_variant
def test_dropout_acts_in_training_and_leaves_merging_alone(kind, variant):
    layer, plain = shaken(fresh(kind, variant, dropout=0.5)), shaken(fresh(kind, variant))
    x = KINDS[kind].x(torch.float64)
    assert torch.equal(layer.eval()(x), plain(x))
    torch.manual_seed(0)
    assert torch.equal(layer.train()(x), plain(x)) == (kind == "Embedding")
    assert torch.equal(layer.weight, plain.weight)


# --- what single variants say of themselves --------------------------------------------------------------------------


def test_the_scaling_of_rslora_divides_by_the_root_of_r():
    assert [LoRALinear(torch.nn.Linear(20, 20), r, 6, variant="rslora").scaling for r in (1, 4, 9, 16)] == [
        6,
        3,
        2,
        1.5,
    ]


def test_lora_fa_keeps_a_as_it_was_drawn_and_saves_no_gradient_for_it():
    layer = fresh("Linear", "lora-fa")
    assert layer.A.any() and not layer.A.requires_grad and layer.B.requires_grad
    assert fresh("Embedding", "lora-fa").A.any()  # where plain LoRA starts with A = 0, which would never move


def test_what_the_backward_pass_keeps_of_lora_fa_is_a_of_x_and_not_x():
    def kept(variant):
        layer, tensors = shaken(fresh("Linear", variant)), []
        x = generic(50, 7, dtype=torch.float64)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: tensors.append(t) or t, lambda t: t):
            layer(x)
        return sum(t.numel() for t in tensors if t.shape[0] == 50)

    assert (kept("lora"), kept("lora-fa")) == (50 * 7 + 50 * R, 50 * R)


@every_kind
def test_the_magnitudes_of_dora_start_as_the_norms_of_the_rows(kind):
    layer = fresh(kind, "dora")
    W = layer.as_matrix(layer.base.weight)
    assert torch.allclose(layer.m, W.norm(dim=1)[layer.adapted_rows()])


def test_dora_gives_each_output_the_norm_m():
    layer = shaken(fresh("Linear", "dora"))
    assert torch.allclose(layer.weight.norm(dim=1), layer.m.abs())


def test_a_row_of_zeros_is_no_trouble_for_dora():
    base = base_of("Linear")
    with torch.no_grad():
        base.weight[1] = 0
    layer, x = LoRALinear(base, R, 6, variant="dora"), KINDS["Linear"].x(torch.float64)
    assert torch.equal(layer(x), base(x))
    layer(x).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in trained_of(layer).values())
    assert shaken(layer)(x).isfinite().all()


@every_kind
def test_pissa_starts_with_the_best_approximation_and_olora_with_the_first_columns_of_q(kind):
    for variant in ("pissa", "olora"):
        layer = fresh(kind, variant)
        W = layer.as_matrix(layer.base.weight).detach()
        for rows, A, B in layer.blocks():
            start = (layer.scaling * B @ A).detach()
            if variant == "pissa":
                sigma = torch.linalg.svdvals(W[rows])
                assert torch.linalg.matrix_norm(W[rows] - start, 2) == pytest.approx(sigma[R].item())
                assert torch.allclose(B.T @ B, A @ A.T)  # each half of the singular values in each factor
            else:
                assert torch.allclose(B.T @ B, torch.eye(R, dtype=B.dtype), atol=1e-12)
                assert torch.allclose((start / layer.scaling)[:, 0], W[rows][:, 0], atol=1e-12)


@pytest.mark.parametrize("variant", ["pissa", "olora"])
@every_dtype
def test_a_start_from_the_base_leaves_the_base_alone(variant, dtype):
    layer = shaken(fresh("Linear", variant, dtype))
    assert_same_bits(layer.base.weight, base_of("Linear", dtype).weight)
    s, wide = layer.scaling, layer.A.dtype
    residual = layer.base.weight.to(wide) + s * layer.minus_B0 @ layer.A0
    assert torch.allclose(layer.weight.to(wide), residual + s * layer.B @ layer.A, rtol=1e-2, atol=1e-2)


def test_vera_has_one_number_an_output_and_one_a_rank_and_no_alpha():
    layer = fresh("Linear", "vera")
    assert {name: tuple(p.shape) for name, p in layer.named_parameters() if p.requires_grad} == {"b": (5,), "d": (2,)}
    assert not layer.b.any() and (layer.d == 0.1).all() and layer.scaling == 1
    with pytest.raises(ValueError, match="VeRA has no scaling: pass alpha equal to r, not alpha=6 with r=2"):
        LoRALinear(base_of("Linear"), 2, 6, variant="vera")


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("dorra", "variant 'dorra' is unknown; there are 'lora', 'rslora'"),
        ("", "variant '' is unknown"),
        (None, "variant 'None' is unknown"),
        ("rslora+rslora", "answer the same question"),
        ("pissa+olora", "answer the same question"),
        ("vera+dora", "answer the same question"),
        ("lora+dora", "answer the same question"),
    ],
)
def test_a_variant_that_there_is_not_is_refused(variant, message):
    base = base_of("Linear")
    with pytest.raises(ValueError, match=message):
        LoRALinear(base, 2, 6, variant=variant)
    assert base.weight.requires_grad


def test_names_of_variants_combine_in_any_order():
    layer = LoRALinear(base_of("Linear"), 4, 6, variant="dora+rslora")
    assert layer.variant.name == "rslora+dora" and layer.scaling == 3
    assert "variant='rslora+dora', r=4" in repr(layer)
    assert alpha_of("lora") / math.sqrt(4) == layer.scaling

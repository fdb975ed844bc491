"""Variants and layers of every kind in a whole model: chosen, counted, shared, trained at two speeds."""

import copy

import pytest
import torch
from helpers import TwoTowers, assert_unchanged, generic, make, snapshot
from layers_and_variants import IDS, TARGETS, VARIANTS, Mixed, R, alpha_of, shaken
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import (
    LoRAMergedConv1D,
    VeRA,
    adapter_parameters,
    add_lora,
    list_targets,
    lora_layers,
    lora_plus_groups,
    merge_and_unload,
    remove_lora,
    summary,
    train,
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_of_every_kind_of_layer_is_adapted_merged_and_given_back(variant):
    model = make(Mixed)
    before, plain = snapshot(model), model(IDS)
    add_lora(model, TARGETS, R, alpha_of(variant), variant=variant)
    assert list(lora_layers(model)) == TARGETS
    assert torch.equal(model(IDS), plain)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in adapter_parameters(model)}
    adapted = shaken(model)(IDS)
    assert not torch.allclose(adapted, plain, atol=1e-3)
    assert (
        summary(model).trained_parameters
        == summary(model).adapter_parameters
        == sum(p.numel() for p in adapter_parameters(model))
    )
    assert torch.allclose(merge_and_unload(copy.deepcopy(model))(IDS), adapted, atol=1e-5)
    assert_unchanged(remove_lora(model), before)


def test_an_expression_means_linear_layers_and_a_name_means_what_it_names():
    model = make(Mixed)
    assert list_targets(model) == ["c_attn", "score"]
    assert list_targets(model, every=True) == TARGETS
    assert list(lora_layers(add_lora(model, ".*", 2, 4))) == ["c_attn", "score"]
    assert list(lora_layers(add_lora(make(Mixed), ["tok.*", "score"], 2, 4))) == ["tokens", "score"]


def test_parts_of_a_fused_layer_are_adapted_and_the_others_stay_as_they_were():
    model, plain = make(Mixed), make(Mixed)
    add_lora(model, "c_attn", 2, 4, parts=(True, False, True))
    assert isinstance(model.c_attn, LoRAMergedConv1D) and model.c_attn.B.shape == (8, 2)
    x = generic(5, 6)
    q, k, v = (shaken(model).c_attn(x) - plain.c_attn(x)).chunk(3, dim=-1)
    assert q.abs().max() > 0.01 and v.abs().max() > 0.01 and not k.any()
    delta = model.c_attn.delta_weight()
    assert delta.shape == (6, 12) and not delta[:, 4:8].any()


@pytest.mark.parametrize(
    ("targets", "r", "parts", "kind", "message"),
    [
        ("c_attn", 2, (False, False, False), ValueError, "'c_attn': parts=.*at least one must be True"),
        ("c_attn", 2, (True,) * 5, ValueError, "5 parts must divide the 12 outputs"),
        ("c_attn", 5, (True, False, True), ValueError, "'c_attn': rank r=5 exceeds the 4 outputs of one part"),
        ("picture", 2, (True, False), TypeError, "'picture': parts are for a fused linear layer, not for an Conv2d"),
    ],
)
def test_parts_that_do_not_fit_are_refused(targets, r, parts, kind, message):
    model = make(Mixed)
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        add_lora(model, targets, r, 4, parts=parts)
    assert_unchanged(model, before)


class Scaled(nn.Embedding):
    def forward(self, ids):
        return 2 * super().forward(ids)


@pytest.mark.parametrize(
    ("layer", "kind", "message"),
    [
        (nn.Embedding(9, 4, max_norm=1.0), ValueError, "'layer': max_norm=1.0 changes the weight in every forward"),
        (Scaled(9, 4), TypeError, "'layer': Scaled has a forward pass of its own"),
        (nn.Conv2d(4, 4, 3, groups=2), ValueError, "'layer': groups=2: a grouped convolution is 2 matrices, not one"),
    ],
)
def test_layers_that_are_no_one_frozen_matrix_are_refused(layer, kind, message):
    model = nn.ModuleDict({"layer": layer})
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        add_lora(model, "layer", 2, 4)
    assert_unchanged(model, before)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_a_convolution_keeps_its_way_of_padding(mode):
    model = make(nn.Sequential, dtype=torch.float64)
    model.append(nn.Conv2d(3, 5, 3, padding=1, padding_mode=mode).double())
    shaken(add_lora(model, "0", 2, 4))
    x = generic(2, 3, 6, 5, dtype=torch.float64)
    assert torch.allclose(merge_and_unload(copy.deepcopy(model))(x), model(x), atol=1e-12)


def test_a_padding_token_trains_nothing():
    model = nn.Sequential(nn.Embedding(9, 4, padding_idx=0))
    shaken(add_lora(model, "0", 2, 4))(torch.tensor([0, 1])).sum().backward()
    assert not model[0].A.grad[:, 0].any() and model[0].A.grad[:, 1].any()


# --- VeRA ------------------------------------------------------------------------------------------------------------


def test_all_layers_of_a_model_share_one_pair_of_vera():
    model = add_lora(make(Mixed), TARGETS, 2, 2, variant="vera")
    layers = lora_layers(model).values()
    assert len({layer.A.untyped_storage().data_ptr() for layer in layers}) == 1
    assert len({layer.B.untyped_storage().data_ptr() for layer in layers}) == 1
    widest = model.tokens  # 11 inputs
    for layer in layers:
        assert torch.equal(layer.A, widest.A[:, : layer.in_features])
    assert summary(model).trained_parameters == sum(2 + layer.out_features for layer in layers)


def test_the_seed_of_vera_decides_its_pair():
    a, b, c = (add_lora(make(), "query", 2, 2, variant=VeRA(seed)) for seed in (1, 1, 2))
    assert torch.equal(a.left["query"].A, b.left["query"].A) and not torch.equal(a.left["query"].A, c.left["query"].A)


# --- LoRA+ -----------------------------------------------------------------------------------------------------------


def test_lora_plus_gives_every_b_its_own_learning_rate_and_all_else_the_old_one():
    model = add_lora(make(), ["query", "up"], 2, 4, modules_to_save="classifier")
    slow, fast = lora_plus_groups(model, lr=0.01, ratio=8)
    assert (slow["lr"], fast["lr"]) == (0.01, 0.08)
    assert {id(p) for p in fast["params"]} == {id(layer.B) for layer in lora_layers(model).values()}
    assert {id(p) for p in slow["params"]} == {
        *(id(layer.A) for layer in lora_layers(model).values()),
        *(id(p) for p in model.classifier.parameters()),
    }
    (one,) = lora_plus_groups(model, lr=0.01, ratio=1)
    assert len(one["params"]) == len(slow["params"]) + len(fast["params"])


def test_one_step_of_sgd_with_lora_plus_moves_b_lambda_times_as_far():
    def step(ratio):
        model = shaken(add_lora(make(dtype=torch.float64), "query", 2, 4))
        before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        F.cross_entropy(model(generic(9, 6, dtype=torch.float64)), torch.arange(9) % 3).backward()
        torch.optim.SGD(lora_plus_groups(model, 0.1, ratio)).step()
        return {name: model.get_parameter(name).detach() - old for name, old in before.items()}

    plain, plus = step(1), step(5)
    for name, move in plain.items():
        assert torch.allclose(plus[name], move * (5 if name.endswith("B") else 1)), name


@pytest.mark.parametrize("ratio", [0, -2, float("nan"), float("inf")])
def test_a_ratio_that_is_no_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match=r"lora_plus=.* must be a finite number above 0"):
        lora_plus_groups(add_lora(make(), "query", 2, 4), 0.1, ratio)


def test_lora_plus_needs_a_b():
    with pytest.raises(ValueError, match="lora_plus=4: the model has no B that trains"):
        lora_plus_groups(make(), 0.1, 4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_a_small_task(variant):
    model = add_lora(make(TwoTowers), ["query", "up"], 4, 4, variant=variant, modules_to_save="classifier")
    x = generic(64, 6)
    data = {"x": x, "labels": (x[:, 0] > x[:, 1]).long()}

    def objective(model, batch):
        logits = model(batch["x"])
        return F.cross_entropy(logits, batch["labels"]), logits.argmax(-1) == batch["labels"]

    report = train(model, data, objective=objective, epochs=12, batch_size=16, lr=0.02, lora_plus=2, progress=False)
    assert report.losses[-1] < 0.5 * report.losses[0]

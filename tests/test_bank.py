"""Many adapters on one model: switching is exact, sums are exact, and each row of a batch can have its own."""

import copy
import itertools
import math

import pytest
import torch
from helpers import Nested, assert_same_bits, assert_unchanged, generic, make, snapshot
from layers_and_variants import IDS, TARGETS, VARIANTS, Mixed, R, alpha_of, shaken
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import AdapterBank, add_lora, load_adapter, lora_layers, merge, merge_and_unload, save_adapter

NO_DORA = [variant for variant in VARIANTS if "dora" not in variant]


def bank_of(variants=("lora", "rslora"), dtype=torch.float64, targets=TARGETS, model=Mixed, **settings):
    """A bank with adapters named a, b, c, …, all of them trained, none in use."""
    bank = AdapterBank(make(model, dtype=dtype))
    for seed, (name, variant) in enumerate(zip("abcdef", variants, strict=False)):
        shaken(bank.add(name, targets, R, alpha_of(variant), variant=variant, **settings), seed)
    bank.use(None)
    return bank


def outputs(bank, x=IDS):
    return {name: bank.use(name)(x).detach() for name in bank.names} | {None: bank.use(None)(x).detach()}


# --- switching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_switching_is_exact_in_any_order_and_none_is_the_plain_model(dtype):
    model = make(Mixed, dtype=dtype)
    before, plain = snapshot(model), model(IDS)
    bank = AdapterBank(model)
    for seed, variant in enumerate(VARIANTS):
        shaken(bank.add(variant, TARGETS, R, alpha_of(variant), variant=variant, modules_to_save="score"), seed)
    first = outputs(bank)
    assert len({tuple(y.flatten().tolist()) for y in first.values()}) == len(VARIANTS) + 1
    for name in [None, *VARIANTS, *reversed(VARIANTS), None]:
        assert_same_bits(bank.use(name)(IDS), first[name])
    assert_same_bits(first[None], plain)
    assert_unchanged(model, before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bank_loads_what_a_single_model_saved(tmp_path, variant):
    single = shaken(add_lora(make(Mixed), TARGETS[:3], R, alpha_of(variant), variant=variant, modules_to_save="score"))
    bank = AdapterBank(make(Mixed))
    plain = bank.model(IDS)
    bank.load("one", save_adapter(single, tmp_path / "one"))
    assert torch.equal(bank.model(IDS), single(IDS))
    assert torch.equal(bank.use(None)(IDS), plain)
    bank.use("one")
    assert torch.equal(load_adapter(make(Mixed), save_adapter(bank.model, tmp_path / "again"))(IDS), single(IDS))


def test_the_adapter_in_use_trains_and_no_other_does():
    bank = bank_of(modules_to_save="score", targets=TARGETS[:3])
    before = outputs(bank)
    model = bank.use("a")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{layer}.{side}" for layer in TARGETS[:3] for side in "AB"} | {"score.weight", "score.bias"}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(model(IDS), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    after = outputs(bank)
    assert not torch.equal(after["a"], before["a"])
    assert torch.equal(after["b"], before["b"]) and torch.equal(after[None], before[None])


def test_switching_undoes_a_merge():
    bank = bank_of()
    before = outputs(bank)
    merge(bank.use("a"))
    assert torch.allclose(bank.model(IDS), before["a"])
    for name in ("b", "a", None):
        assert torch.equal(bank.use(name)(IDS), before[name])


def test_adapters_may_sit_on_different_layers_with_different_ranks():
    bank = AdapterBank(make(Mixed, dtype=torch.float64))
    shaken(bank.add("a", "score", 3, 2))
    shaken(bank.add("b", ["tokens", "c_attn"], 1, 5, variant="dora"))
    each = outputs(bank)
    mixed = bank.use({"a": 1, "b": 1})
    assert not torch.equal(mixed(IDS), each["a"])
    assert list(lora_layers(bank.use("a"))) == ["score"] and list(lora_layers(bank.use("b"))) == ["tokens", "c_attn"]


def test_a_layer_under_two_names_is_switched_in_both():
    model = nn.ModuleDict({"one": nn.Linear(4, 4)})
    model["two"] = model["one"]
    bank = AdapterBank(model)
    shaken(bank.add("a", "one", 2, 4))
    assert model["one"] is model["two"] and model["one"] in lora_layers(model).values()
    bank.use(None)
    assert model["one"] is model["two"] and not lora_layers(model)


def test_a_new_layer_has_the_mode_of_the_plain_one():
    bank = bank_of(dropout=0.5)
    bank.model.eval()
    assert not any(layer.dropout.training for layer in lora_layers(bank.use("a")).values())


# --- sums ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_adapter_at_weight_one_is_itself(variant):
    bank = bank_of([variant, "lora"], modules_to_save="score", targets=TARGETS[:3])
    before = outputs(bank)
    assert_same_bits(bank.use({"a": 1})(IDS), before["a"])
    assert bank.combine("copy", {"a": 1.0}) == 0
    assert_same_bits(bank.use("copy")(IDS), before["a"])
    shaken(bank.model)
    assert torch.equal(bank.use("a")(IDS), before["a"])  # the copy is its own
    assert torch.allclose(bank.use({"a": 1, "b": 0})(IDS), before["a"], atol=1e-12)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(VARIANTS, 2)))
def test_a_sum_adds_up_what_each_adapter_adds(first, second):
    """On one layer: h = h₀ + w₁(h₁ − h₀) + w₂(h₂ − h₀), whatever the variants."""
    bank = AdapterBank(nn.Sequential(make(nn.Linear, dtype=torch.float64, in_features=7, out_features=5)))
    for name, variant in (("a", first), ("b", second)):
        shaken(bank.add(name, "0", R, alpha_of(variant), variant=variant), seed=len(name))
    x = generic(6, 7, dtype=torch.float64)
    y = outputs(bank, x)
    mixed = bank.use({"a": 0.7, "b": -1.3})
    assert torch.allclose(mixed(x), y[None] + 0.7 * (y["a"] - y[None]) - 1.3 * (y["b"] - y[None]), atol=1e-12)
    assert torch.allclose(mixed(x), F.linear(x, mixed[0].weight, mixed[0].bias), atol=1e-12)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(NO_DORA, repeat=2)))
def test_factors_side_by_side_are_the_exact_sum(first, second):
    bank = bank_of([first, second])
    expected = bank.use({"a": 0.7, "b": -1.3})(IDS)
    assert bank.combine("both", {"a": 0.7, "b": -1.3}) == 0
    assert torch.allclose(bank.use("both")(IDS), expected, atol=1e-12)
    assert {layer.variant.name for layer in lora_layers(bank.model).values()} == {"lora"}
    assert torch.allclose(merge_and_unload(copy.deepcopy(bank.model))(IDS), expected, atol=1e-11)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_best_sum_of_rank_r_has_the_error_that_it_says(variant, r):
    bank = bank_of([variant, "lora"])
    exact = bank.use({"a": 0.5, "b": 0.5})
    deltas = {n: getattr(exact, n).weight.detach() - getattr(exact, n).base.weight for n in TARGETS}
    error = bank.combine("best", {"a": 0.5, "b": 0.5}, r=r)
    best = {name: layer.delta_weight().detach() for name, layer in lora_layers(bank.use("best")).items()}
    total = math.hypot(*(float(d.norm()) for d in deltas.values()))
    assert math.hypot(*(float((deltas[n] - best[n]).norm()) for n in deltas)) / total == pytest.approx(error, abs=1e-10)
    sigma = torch.linalg.svdvals(deltas["score"])
    assert float((deltas["score"] - best["score"]).norm()) == pytest.approx(float(sigma[r:].norm()), abs=1e-10)


def test_dora_has_no_sum_of_low_rank_and_the_bank_is_as_it_was():
    bank = bank_of(["dora", "lora"])
    with pytest.raises(ValueError, match="DoRA's change of W has no low rank: pass r"):
        bank.combine("both", {"a": 0.5, "b": 0.5})
    assert bank.names == ["a", "b"]
    assert bank.combine("both", {"a": 0.5, "b": 0.5}, r=2) > 0.01


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_a_merged_adapter_is_combined_as_if_it_were_not(variant):
    bank = bank_of([variant, "lora"])
    bank.combine("before", {"a": 1, "b": 2}, r=2)
    merge(bank.use("b"))
    bank.combine("after", {"a": 1, "b": 2}, r=2)
    assert torch.equal(bank.use("after")(IDS), bank.use("before")(IDS))


def test_more_rank_than_the_matrix_has_is_not_needed():
    bank = bank_of(["pissa", "olora", "lora"])
    weights = {"a": 1, "b": 2, "c": 3}
    expected = bank.use(weights)(IDS)
    assert bank.combine("all", weights) == 0
    layers = lora_layers(bank.use("all"))
    assert layers["score"].r == 3 and layers["picture"].r == 5  # not 10
    assert torch.allclose(bank.model(IDS), expected, atol=1e-11)


def test_modules_trained_whole_are_summed_from_the_plain_one():
    bank = bank_of(targets="tokens", modules_to_save="score")
    plain, heads = bank.model.score.weight.clone(), {n: bank.use(n).score.weight.clone() for n in "ab"}
    mixed = bank.use({"a": 0.25, "b": 0.5}).score
    assert torch.allclose(mixed.weight, plain + 0.25 * (heads["a"] - plain) + 0.5 * (heads["b"] - plain))
    assert not any(p.requires_grad for p in bank.model.parameters())
    assert torch.equal(bank.use(None).score.weight, plain)


def test_a_combined_adapter_is_saved_and_loaded_like_any_other(tmp_path):
    bank = bank_of(["lora", "pissa"], dtype=torch.float32)
    bank.combine("both", {"a": 1, "b": -2})
    expected = bank.use("both")(IDS)
    assert torch.equal(load_adapter(make(Mixed), save_adapter(bank.model, tmp_path))(IDS), expected)


# --- one for each row ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variants", [VARIANTS[:4], VARIANTS[4:7], ["lora", "rslora", "pissa"], ["vera"]])
@pytest.mark.parametrize("whole", [(), "score"])
def test_each_row_of_a_batch_goes_through_its_own_adapter(variants, whole):
    bank = bank_of(variants, targets=TARGETS[:3], modules_to_save=whole)
    names = [None, *bank.names, "a", None, bank.names[-1]]
    ids = torch.randint(0, 11, (len(names), 4), generator=torch.Generator().manual_seed(0))
    expected = torch.stack([bank.use(name)(ids[i : i + 1])[0] for i, name in enumerate(names)])
    bank.use("a")
    with bank.rows(names) as model:
        assert torch.allclose(model(ids), expected, atol=1e-12)
    assert torch.equal(model(ids), bank.use("a")(ids))


def test_stacked_factors_and_single_layers_give_the_same_rows():
    bank = bank_of(["lora", "rslora"], targets="score")
    names = ["b", "a", None]
    ids = IDS
    with bank.rows(names) as model:
        assert model.score._stacked is not None
        stacked = model(ids)
        model.score._stacked = None
        assert torch.allclose(model(ids), stacked, atol=1e-12)


def test_a_batch_of_another_size_is_refused_and_the_bank_goes_back():
    bank = bank_of()
    bank.use("b")
    expected = bank.model(IDS)
    with (
        pytest.raises(ValueError, match=r"input of shape \(3, 4\): the batch was said to have 2 rows"),
        bank.rows(["a", "b"]) as model,
    ):
        model(IDS)
    assert torch.equal(bank.model(IDS), expected)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_unknown_names_and_weights_are_refused_and_nothing_changes():
    bank = bank_of()
    bank.use("a")
    expected = bank.model(IDS)
    for choice in ("z", {"a": 1, "z": 1}):
        with pytest.raises(KeyError, match="there is no adapter 'z' in the bank, only 'a', 'b'"):
            bank.use(choice)
    with pytest.raises(ValueError, match="the weight nan of 'a' must be a finite number"):
        bank.use({"a": float("nan"), "b": 1})
    with pytest.raises(ValueError, match="there is an adapter 'b' in the bank already"):
        bank.add("b", "score", 2, 4)
    with pytest.raises(KeyError, match="'z'"), bank.rows(["a", "z", None]):
        pass
    assert torch.equal(bank.model(IDS), expected)


@pytest.mark.parametrize("r", [0, 99])
def test_an_adapter_that_does_not_fit_leaves_the_bank_as_it_was(r, tmp_path):
    bank = bank_of(modules_to_save="score", targets=TARGETS[:3])
    bank.use("a")
    before = snapshot(bank.model)
    with pytest.raises(ValueError, match=f"rank r={r}"):
        bank.add("c", "tokens", r, 4, modules_to_save="score")
    assert_unchanged(bank.model, before)
    with pytest.raises(FileNotFoundError):
        bank.load("c", tmp_path)
    assert_unchanged(bank.model, before)
    assert bank.names == ["a", "b"]


def test_a_bank_is_made_of_a_plain_model():
    with pytest.raises(ValueError, match="has LoRA layers already: make the bank of a plain model"):
        AdapterBank(add_lora(make(), "query", 2, 4))


def test_adapters_that_change_one_another_are_not_mixed():
    bank = AdapterBank(make(Nested))
    shaken(bank.add("lora", "block.up", 2, 4))
    shaken(bank.add("whole", "classifier", 2, 4, modules_to_save="block"))
    with pytest.raises(ValueError, match="one adapter trains a module whole in which another has LoRA layers"):
        bank.use({"lora": 1, "whole": 1})
    assert list(lora_layers(bank.model)) == ["classifier"]  # as it was
    assert list(lora_layers(bank.use("lora"))) == ["block.up"]


def test_one_adapter_cannot_train_whole_what_another_adapts():
    bank = AdapterBank(make(Mixed))
    shaken(bank.add("lora", "score", 2, 4))
    shaken(bank.add("whole", "c_attn", 2, 4, modules_to_save="score"))
    for attempt in (lambda: bank.use({"lora": 1, "whole": 1}), lambda: bank.combine("both", {"lora": 1, "whole": 1})):
        with pytest.raises(ValueError, match="one adapter trains a module whole in which another has LoRA layers"):
            attempt()
    assert bank.names == ["lora", "whole"]


@pytest.mark.parametrize("r", [0, -1])
def test_a_best_sum_needs_a_rank(r):
    bank = bank_of()
    with pytest.raises(ValueError, match=rf"rank r={r} must be between 1 and min\(out, in\)=6"):
        bank.combine("both", {"a": 1, "b": 1}, r=r)
    assert bank.names == ["a", "b"]

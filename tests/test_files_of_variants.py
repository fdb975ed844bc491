"""Files of every variant: the round trip, peft's side of it, the checksum, and what is refused."""

import json
import pickle
import warnings

import pytest
import torch
from helpers import assert_same_bits, assert_same_state, assert_unchanged, generic, make, snapshot
from layers_and_variants import IDS, TARGETS, VARIANTS, Mixed, R, alpha_of, shaken
from safetensors.torch import load_file, save_file
from torch import nn

from lora_edu import (
    AdapterFileError,
    LoRALinear,
    LoRAMergedConv1D,
    VeRA,
    add_lora,
    load_adapter,
    lora_layers,
    merge,
    save_adapter,
)

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:::(peft|transformers|torch)")

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# LoRA-FA is a way to train plain LoRA: its file says nothing of it.
IN_FILES = {variant: variant.replace("lora-fa", "lora").replace("rslora+lora", "rslora") for variant in VARIANTS}


def adapted(variant, dtype=torch.float32, targets=TARGETS, **settings):
    return shaken(add_lora(make(Mixed, dtype=dtype), targets, R, alpha_of(variant), variant=variant, **settings))


def refused(folder, message, kind=AdapterFileError, model=None):
    model = model or make(Mixed)
    before = snapshot(model)
    with pytest.raises(kind, match=message):
        load_adapter(model, folder)
    assert_unchanged(model, before)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, variant, dtype):
    model = adapted(variant, dtype)
    folder = save_adapter(model, tmp_path)
    prepared = add_lora(make(Mixed, dtype=dtype), TARGETS, R, alpha_of(variant), variant=variant)
    for fresh in (make(Mixed, dtype=dtype), prepared, merge(adapted(variant, dtype))):
        load_adapter(fresh, folder)
        assert_same_state(fresh.state_dict(), model.state_dict())
        assert_same_bits(fresh(IDS), model(IDS))
        assert {name for name, p in prepared.named_parameters() if p.requires_grad} == {
            name for name, p in model.named_parameters() if p.requires_grad
        }
    loaded = lora_layers(load_adapter(make(Mixed, dtype=dtype), folder))
    assert {layer.variant.name for layer in loaded.values()} == {IN_FILES[variant]}
    before = (folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_bytes()
    save_adapter(merge(model), folder)
    assert ((folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_bytes()) == before


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "dora" not in v])
@pytest.mark.parametrize("merged", [False, True])
def test_a_plain_file_holds_the_same_update_and_needs_no_start(tmp_path, variant, merged):
    model = adapted(variant, torch.float64)
    expected = model(IDS)
    folder = save_adapter(merge(model) if merged else model, tmp_path, plain=True)
    fresh = load_adapter(make(Mixed, dtype=torch.float64), folder)
    assert torch.allclose(fresh(IDS), expected, atol=1e-12)
    assert {layer.variant.name for layer in lora_layers(fresh).values()} == {"lora"}
    doubled = "pissa" in variant or "olora" in variant
    assert lora_layers(fresh)["c_attn"].r == (2 * R if doubled else R)
    assert lora_layers(fresh)["score"].r == (3 if doubled else R)  # 3 × 5: no update has rank 4


def test_the_update_of_dora_is_no_plain_lora(tmp_path):
    with pytest.raises(ValueError, match="'tokens': DoRA scales all of W₀"):
        save_adapter(adapted("dora"), tmp_path / "adapter", plain=True)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora-fa", "vera", "pissa"])
def test_parts_of_a_fused_layer_are_saved_as_plain_lora_of_the_whole(tmp_path, variant):
    def fused():
        return add_lora(
            make(Mixed, dtype=torch.float64), "c_attn", R, alpha_of(variant), variant=variant, parts=(True, False, True)
        )

    model = shaken(fused())
    folder = save_adapter(model, tmp_path)
    assert torch.allclose(load_adapter(make(Mixed, dtype=torch.float64), folder)(IDS), model(IDS), atol=1e-12)
    if variant in ("lora", "rslora", "lora-fa"):
        again = load_adapter(fused(), folder)
        assert isinstance(again.c_attn, LoRAMergedConv1D)
        assert torch.allclose(again.c_attn.B, model.c_attn.B) and torch.equal(again.c_attn.A, model.c_attn.A)
        other = add_lora(make(Mixed, dtype=torch.float64), "c_attn", R, 6, variant=variant, parts=(True, True, False))
        refused(folder, r"adapts other parts of the layer than \(True, True, False\)", model=other)


def test_layers_of_different_variants_have_no_common_file(tmp_path):
    model = adapted("lora", targets="score")
    model.score = LoRALinear(model.score.base, 2, 4, variant="dora")
    model.more = LoRALinear(nn.Linear(3, 3), 2, 4)
    with pytest.raises(ValueError, match="the layers follow different variants, dora and lora: a file has one"):
        save_adapter(model, tmp_path)


def test_layers_without_a_common_pair_have_no_file_of_vera(tmp_path):
    model = adapted("vera", targets=["score"])
    model.more = LoRALinear(nn.Linear(3, 3), 2, 2, variant=VeRA(seed=7))
    with pytest.raises(ValueError, match="has a pair A, B of its own"):
        save_adapter(model, tmp_path)


def test_vera_of_another_seed_and_start_comes_back(tmp_path):
    model = shaken(add_lora(make(Mixed), TARGETS, 2, 2, variant=VeRA(seed=5, d_initial=0.3)))
    fresh = load_adapter(make(Mixed), save_adapter(model, tmp_path))
    assert torch.equal(fresh(IDS), model(IDS))
    variant = fresh.score.variant
    assert (variant.seed, variant.d_initial) == (5, 0.3)


# --- the checksum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["lora", "dora", "vera"])
def test_no_bit_of_the_tensors_can_be_flipped_unnoticed(tmp_path, variant):
    folder = save_adapter(adapted(variant), tmp_path)
    whole = (folder / WEIGHTS).read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for position in range(start, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        (folder / WEIGHTS).write_bytes(damaged)
        refused(folder, r"is damaged: its tensors are not those that were saved \(the checksum differs\)|not finite")


def test_a_pickle_in_the_place_of_the_weights_is_not_opened(tmp_path):
    folder = save_adapter(adapted("lora"), tmp_path)
    fired = []

    class Bomb:
        def __reduce__(self):
            return fired.append, (1,)

    (folder / WEIGHTS).write_bytes(pickle.dumps({"weights": Bomb()}))
    refused(folder, f"{WEIGHTS} is not a whole safetensors file")
    torch.save({"weights": torch.zeros(2)}, folder / WEIGHTS)
    refused(folder, f"{WEIGHTS} is not a whole safetensors file")
    assert not fired


# --- what is refused -------------------------------------------------------------------------------------------------


def edit(folder, change_config=None, change_tensors=None):
    if change_config:
        config = json.loads((folder / CONFIG).read_text())
        config.update(change_config)
        (folder / CONFIG).write_text(json.dumps(config))
    if change_tensors:
        tensors = load_file(folder / WEIGHTS)
        change_tensors(tensors)
        save_file(tensors, folder / WEIGHTS)


P = "base_model.model."


@pytest.mark.parametrize(
    ("variant", "config", "tensors", "message"),
    [
        ("dora", {}, lambda t: t.pop(f"{P}score.lora_magnitude_vector"), "'score' has no lora_magnitude_vector"),
        (
            "dora",
            {},
            lambda t: t.update({f"{P}score.lora_magnitude_vector": torch.ones(4)}),
            r"lora_magnitude_vector of 'score' has shape \(4,\), but \(3,\) is needed",
        ),
        ("dora", {"use_dora": False}, None, "tensor '.*lora_magnitude_vector' that belongs to no module"),
        ("lora", {"use_dora": True}, None, "has no lora_magnitude_vector"),
        ("lora", {"peft_type": "VERA"}, None, "holds no vera_lambda_b and vera_lambda_d"),
        ("vera", {"peft_type": "LORA"}, None, "holds no lora_A and lora_B"),
        ("vera", {"r": 3}, None, r"vera_lambda_d of '.*' has shape \(2,\), but \(3,\) is needed"),
        ("vera", {"r": 10**40}, None, r"has shape \(2,\)"),
        ("vera", {"r": None}, None, r"has shape \(2,\), but \(None,\)"),
        ("vera", {"projection_prng_key": "x"}, None, "seed='x' must be an integer .*projection_prng_key is the seed"),
        ("vera", {"d_initial": []}, None, r"d_initial=\[\] must be a finite number"),
        ("vera", {"d_initial": 1e39}, None, "d_initial=1e.39 must be a finite number"),
        ("vera", {"save_projection": False}, None, "has 2 of vera_A and vera_B; .* says otherwise"),
        ("vera", {}, lambda t: t.pop("base_model.vera_A"), "has 1 of vera_A and vera_B"),
        ("vera", {}, lambda t: t.pop(f"{P}score.vera_lambda_d"), "layer 'score' has no vera_lambda_d"),
        (
            "vera",
            {},
            lambda t: t.update({"base_model.vera_A": torch.ones(2, 5)}),
            r"vera_A has shape \(2, 5\), but '.*' needs \(2, ",
        ),
        ("vera", {}, lambda t: t.update({"base_model.vera_B": torch.ones(12)}), "vera_B has shape"),
        ("vera", {"vera_dropout": 2}, None, "dropout=2 must be at least 0"),
        (
            "lora",
            {},
            lambda t: t.update({f"{P}picture.lora_A.weight": torch.ones(2, 6)}),
            r"lora_A of 'picture' has shape \(2, 6\), but \(2, 1, 2, 3\) is needed",
        ),
        ("lora", {"init_lora_weights": "pissa", "use_dora": True}, None, "has no lora_magnitude_vector"),
        (
            "lora",
            {},
            lambda t: t.update({f"{P}tokens.base_layer.weight": torch.ones(11, 6)}),
            "has another base weight of 'tokens' than the model",
        ),
    ],
)
def test_files_of_variants_that_do_not_fit_are_refused_by_name(tmp_path, variant, config, tensors, message):
    folder = save_adapter(adapted(variant), tmp_path)
    edit(folder, config, tensors)
    refused(folder, message)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_that_follows_another_variant_is_refused(tmp_path, variant):
    folder = save_adapter(adapted(variant), tmp_path)
    other = "rslora" if IN_FILES[variant] != "rslora" else "lora"
    refused(folder, "has other LoRA layers than the adapter .* or variant", model=adapted(other))


# --- peft ------------------------------------------------------------------------------------------------------------

# peft makes a start from the base for linear layers only, and OLoRA's on Conv1D is that of the transpose.
LINEAR = ["left.query", "right.query", "up"]
TRAVELLERS = [(make, LINEAR, variant, lambda m: m(generic(4, 6))) for variant in dict.fromkeys(IN_FILES.values())]
TRAVELLERS += [
    (lambda: make(Mixed), TARGETS, variant, lambda m: m(IDS)) for variant in ("lora", "rslora", "dora", "rslora+dora")
]
TRAVELLERS += [(lambda: make(Mixed), ["c_attn", "score"], "vera", lambda m: m(IDS))]


@pytest.mark.parametrize(("model", "targets", "variant", "run"), TRAVELLERS)
def test_what_is_saved_here_computes_the_same_in_peft_and_comes_back(tmp_path, model, targets, variant, run):
    ours = shaken(add_lora(model(), targets, R, alpha_of(variant), variant=variant))
    save_adapter(ours, tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected|Unexpected)")
        theirs = peft.PeftModel.from_pretrained(model(), tmp_path / "ours").eval()
    with torch.no_grad():
        assert torch.allclose(run(theirs), run(ours), rtol=1e-4, atol=1e-5)
        theirs.save_pretrained(tmp_path / "theirs")
        again = load_adapter(model(), tmp_path / "theirs")
        assert torch.allclose(run(again), run(ours), rtol=1e-4, atol=1e-5)
    for name, layer in lora_layers(again).items():
        for tensor in layer.variant.trained():
            assert torch.equal(getattr(layer, tensor), getattr(lora_layers(ours)[name], tensor))
    known = peft.VeraConfig() if variant == "vera" else peft.LoraConfig()
    assert set(json.loads((tmp_path / "ours" / CONFIG).read_text())) <= set(known.to_dict())


@pytest.mark.parametrize("variant", ["pissa", "olora"])
def test_the_plain_file_of_a_start_from_the_base_loads_in_peft(tmp_path, variant):
    ours = shaken(add_lora(make(), LINEAR, R, 6, variant=variant))
    theirs = peft.PeftModel.from_pretrained(make(), save_adapter(ours, tmp_path, plain=True)).eval()
    assert torch.allclose(theirs(generic(4, 6)), ours(generic(4, 6)), rtol=1e-4, atol=1e-5)


def test_what_peft_converts_to_plain_lora_loads_here(tmp_path):
    config = peft.LoraConfig(r=R, lora_alpha=6, target_modules=LINEAR, init_lora_weights="pissa")
    theirs = peft.get_peft_model(make(), config)
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(tmp_path / "start")
    theirs.peft_config["default"].init_lora_weights = "pissa"
    shaken(theirs)
    theirs.save_pretrained(tmp_path / "end", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    ours = load_adapter(make(), tmp_path / "end")
    assert lora_layers(ours)["left.query"].r == 2 * R
    assert torch.allclose(ours(generic(4, 6)), theirs(generic(4, 6)), rtol=1e-4, atol=1e-5)


def test_a_vera_file_without_its_pair_is_made_again_from_the_key(tmp_path):
    config = peft.VeraConfig(r=2, target_modules=["c_attn", "score"], save_projection=False, projection_prng_key=3)
    theirs = shaken(peft.get_peft_model(make(Mixed), config)).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_adapter(make(Mixed), tmp_path)
    assert torch.allclose(ours(IDS), theirs(IDS), atol=1e-5)

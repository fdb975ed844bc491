"""Adapter files: what is saved comes back bit for bit, and a faulty file is one clear error that changes nothing."""

import json
import os
from pathlib import Path

import pytest
import torch
from helpers import Nested, assert_same_bits, assert_same_state, assert_unchanged, generic, make, randomize, snapshot
from safetensors.torch import load_file, save_file
from torch import nn

from lora_edu import (
    AdapterFileError,
    LoRALinear,
    add_lora,
    load_adapter,
    lora_layers,
    merge,
    remove_lora,
    save_adapter,
)

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def adapted(targets="query", r=2, alpha=6, whole="classifier", dtype=torch.float32, seed=1):
    """A model with an adapter whose factors are random, and a head that was trained."""
    model = randomize(add_lora(make(dtype=dtype), targets, r=r, alpha=alpha, modules_to_save=whole or ()), seed)
    with torch.no_grad():
        for name in [whole] if whole else []:
            for parameter in model.get_submodule(name).parameters():
                parameter.add_(generic(*parameter.shape, seed=seed, dtype=dtype))
    return model


def saved(tmp_path, **settings) -> Path:
    return save_adapter(adapted(**settings), tmp_path / "adapter")


def edit_config(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps(config))


def edit_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# --- the round trip ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prepared", [False, True])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, dtype, prepared):
    model, x = adapted(dtype=dtype), generic(4, 6, dtype=dtype)
    folder = save_adapter(model, tmp_path / "new" / "adapter")
    assert folder == tmp_path / "new" / "adapter"
    fresh = make(dtype=dtype)
    if prepared:
        add_lora(fresh, "query", r=2, alpha=6)
    assert load_adapter(fresh, str(folder)) is fresh
    assert_same_state(fresh.state_dict(), model.state_dict())
    assert_same_bits(fresh(x), model(x))
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in fresh.named_parameters()} == flags
    assert (r := lora_layers(fresh)["left.query"]).r == 2 and r.scaling == 3


def test_dropout_travels_with_the_adapter(tmp_path):
    model = add_lora(make(), "query", r=2, alpha=6, dropout=0.25)
    fresh = load_adapter(make(), save_adapter(model, tmp_path))
    assert {layer.dropout.p for layer in lora_layers(fresh).values()} == {0.25}


def test_the_files_have_the_names_of_peft(tmp_path):
    folder = saved(tmp_path)
    assert set(contents(folder)) == {CONFIG, WEIGHTS}
    tensors = load_file(folder / WEIGHTS)
    assert set(tensors) == {
        *(f"{PREFIX}{side}.query.lora_{factor}.weight" for side in ("left", "right") for factor in "AB"),
        f"{PREFIX}classifier.weight",
        f"{PREFIX}classifier.bias",
    }
    assert tensors[f"{PREFIX}left.query.lora_A.weight"].shape == (2, 6)
    assert tensors[f"{PREFIX}left.query.lora_B.weight"].shape == (5, 2)
    config = json.loads((folder / CONFIG).read_text())
    assert config["peft_type"] == "LORA" and config["bias"] == "none"
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 6, 0.0)
    assert config["target_modules"] == ["left.query", "right.query"] and config["modules_to_save"] == ["classifier"]
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def test_a_merged_model_is_saved_as_if_it_were_not(tmp_path):
    model = adapted()
    before = contents(save_adapter(model, tmp_path))
    assert contents(save_adapter(merge(model), tmp_path)) == before


def test_loading_into_a_merged_model_replaces_what_was_merged(tmp_path):
    source, target = adapted(), merge(adapted(seed=7))
    folder, x = save_adapter(source, tmp_path), generic(4, 6)
    load_adapter(target, folder)
    assert not any(layer.merged for layer in lora_layers(target).values())
    assert torch.equal(target(x), source(x))
    assert_same_state(remove_lora(target).left.state_dict(), make().left.state_dict())


def test_loading_again_freezes_and_frees_as_the_first_time(tmp_path):
    folder, model = saved(tmp_path), adapted(whole="norm")
    for layer in lora_layers(model).values():
        layer.A.requires_grad_(False)
    load_adapter(model, folder)
    flags = {name for name, p in model.named_parameters() if p.requires_grad}
    assert flags == {name for name, p in adapted().named_parameters() if p.requires_grad}


def test_removing_a_loaded_adapter_gives_the_flags_back(tmp_path):
    folder, model = saved(tmp_path, whole=None), make()
    model.norm.requires_grad_(False)
    before = snapshot(model)
    assert_unchanged(remove_lora(load_adapter(model, folder)), before)


def test_a_head_of_several_modules_travels_with_its_buffers(tmp_path):
    def with_head():
        model = make()
        model.classifier = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3))
        return model

    model = add_lora(with_head(), "query", r=2, alpha=4, modules_to_save="classifier")
    model.train()(generic(16, 6))  # moves the running mean
    folder = save_adapter(model, tmp_path)
    assert json.loads((folder / CONFIG).read_text())["modules_to_save"] == ["classifier"]
    fresh = load_adapter(with_head(), folder)
    assert torch.equal(fresh.eval()(generic(4, 6)), model.eval()(generic(4, 6)))


def test_a_single_trained_parameter_takes_its_module_along(tmp_path):
    model = adapted(whole=None)
    model.norm.bias.requires_grad_(True)
    with torch.no_grad():
        model.norm.bias.fill_(2)
    fresh = load_adapter(make(), save_adapter(model, tmp_path))
    assert torch.equal(fresh(generic(4, 6)), model(generic(4, 6)))


def test_a_layer_whose_name_ends_another_is_saved_alone(tmp_path):
    model = randomize(add_lora(make(Nested), "up|nothing", r=2, alpha=4))
    assert list(lora_layers(model)) == ["up"]
    fresh = load_adapter(make(Nested), save_adapter(model, tmp_path))
    assert list(lora_layers(fresh)) == ["up"]
    assert torch.equal(fresh(generic(3, 6)), model(generic(3, 6)))


def test_ranks_and_alphas_of_single_layers_survive(tmp_path):
    model = add_lora(make(Nested), ["up", "pre_classifier"], r=2, alpha=4)
    model.up = LoRALinear(model.up.base, 4, 3)
    randomize(model)
    folder = save_adapter(model, tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    assert config["r"] == 2 and config["rank_pattern"] == {"^up": 4} and config["alpha_pattern"] == {"^up": 3}
    fresh = load_adapter(make(Nested), folder)
    assert {n: (la.r, la.alpha) for n, la in lora_layers(fresh).items()} == {
        "up": (4, 3),
        "block.up": (2, 4),
        "pre_classifier": (2, 4),
    }
    assert torch.equal(fresh(generic(3, 6)), model(generic(3, 6)))


def test_patterns_of_peft_are_regular_expressions_for_the_end_of_a_name(tmp_path):
    model = add_lora(make(), [r"right\..*", "left.query"], r=2, alpha=4)
    for name in ("right.query", "right.up"):
        parent, leaf = name.split(".")
        getattr(model, parent)[leaf] = LoRALinear(model.get_submodule(name).base, 1, 8)
    folder = save_adapter(randomize(model), tmp_path)
    edit_config(
        folder, r=2, lora_alpha=4, rank_pattern={"right.*": 1}, alpha_pattern={"(query|up)": 8, "left.query": 9}
    )
    edit_config(folder, alpha_pattern={r"right\.(query|up)": 8})
    fresh = load_adapter(make(), folder)
    assert torch.equal(fresh(generic(3, 6)), model(generic(3, 6)))
    edit_config(folder, alpha_pattern={"query": 5, "right.query": 8})  # the first that fits counts
    assert lora_layers(load_adapter(make(), folder))["right.query"].alpha == 5


# --- saving that fails -------------------------------------------------------------------------------------------


def test_there_must_be_something_to_save(tmp_path):
    with pytest.raises(ValueError, match="the model has no LoRA layers to save"):
        save_adapter(make(), tmp_path / "adapter")
    with pytest.raises(ValueError, match="the model is itself a LoRALinear"):
        save_adapter(LoRALinear(nn.Linear(4, 4), 2, 4), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


class WithToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.block = nn.Sequential(nn.Linear(4, 3))


@pytest.mark.parametrize("trained", ["scale", "inner.scale", "inner.block.0.base.bias"])
def test_a_trained_parameter_that_the_format_cannot_hold_is_named(tmp_path, trained):
    model = WithToken()
    model.inner = WithToken()
    add_lora(model, "inner.block.0", r=2, alpha=4)
    model.get_parameter(trained).requires_grad_(True)
    with pytest.raises(ValueError, match=f"parameter '{trained}' trains, but peft's format has no place for it"):
        save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_file_in_the_place_of_the_folder_stays_a_file(tmp_path):
    (tmp_path / "adapter").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file; an adapter is saved as a folder"):
        save_adapter(adapted(), tmp_path / "adapter")
    with pytest.raises(OSError):
        save_adapter(adapted(), tmp_path / "adapter" / "below")
    assert (tmp_path / "adapter").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_the_systems_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        save_adapter(adapted(), tmp_path)


@pytest.mark.parametrize("fault", ["weights", "json", "first rename", "second rename"])
@pytest.mark.parametrize("older", [True, False])
def test_a_save_that_fails_leaves_the_older_adapter_whole_and_nothing_else(tmp_path, monkeypatch, fault, older):
    folder = tmp_path / "adapter"
    if older:
        save_adapter(adapted(), folder)
        before = contents(folder)
    calls = []

    def failing_replace(source, target, replace=os.replace):
        calls.append(target)
        if len(calls) == {"first rename": 1, "second rename": 2}.get(fault):
            raise OSError("no space left on device")
        return replace(source, target)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    if fault == "weights":
        monkeypatch.setattr("lora_edu.files.save", fail)
    elif fault == "json":
        monkeypatch.setattr("lora_edu.files.json.dumps", fail)
    monkeypatch.setattr("lora_edu.files.os.replace", failing_replace)
    with pytest.raises(OSError, match="no space left"):
        save_adapter(adapted(targets="up", r=1, seed=9), folder)
    assert contents(folder) == (before if older else {})


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_disk_that_is_full_is_the_systems_error_and_the_older_adapter_stays(tmp_path, room):
    resource = pytest.importorskip("resource")  # no file may grow above `room` bytes: the system's own refusal
    small = nn.Sequential(nn.Linear(60, 60))
    folder = save_adapter(add_lora(small, "0", r=2, alpha=4), tmp_path)
    before, limits = contents(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    large = add_lora(nn.Sequential(nn.Linear(60, 60)), "0", r=40, alpha=4)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_adapter(large, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(folder) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_a_place_where_nothing_can_be_written_is_the_systems_error():
    with pytest.raises(OSError, match="/proc/"):
        save_adapter(adapted(), Path("/proc/self/adapter"))


def test_a_folder_in_the_place_of_the_config_undoes_the_save(tmp_path):
    folder = saved(tmp_path)
    weights = (folder / WEIGHTS).read_bytes()
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()
    with pytest.raises(OSError):
        save_adapter(adapted(seed=5), folder)
    assert (folder / WEIGHTS).read_bytes() == weights
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}


# --- loading that fails ------------------------------------------------------------------------------------------


def refused(folder, kind, message, model=None):
    for fresh in [model] if model is not None else [make(), add_lora(make(), "query", r=2, alpha=6)]:
        before = snapshot(fresh)
        with pytest.raises(kind, match=message):
            load_adapter(fresh, folder)
        assert_unchanged(fresh, before)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(tmp_path, name):
    folder = saved(tmp_path)
    (folder / name).unlink()
    refused(folder, FileNotFoundError, f"no {name} in {folder}")
    refused(tmp_path / "nowhere", FileNotFoundError, f"no {CONFIG} in .*nowhere: is it an adapter's folder")


def test_a_pickle_is_never_opened(tmp_path):
    folder = saved(tmp_path)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    refused(folder, FileNotFoundError, r"adapter_model\.bin is a pickle, which can run code .* it is never opened")


@pytest.mark.parametrize("keep", [0, 4, 7, 8, 40, 200, -1])
def test_truncated_weights_are_refused(tmp_path, keep):
    folder = saved(tmp_path)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:keep])
    refused(folder, AdapterFileError, f"{WEIGHTS} is not a whole safetensors file")


def test_no_byte_of_the_weights_header_can_be_flipped_unnoticed(tmp_path):
    """Either an error with the model as it was, or the same tensors (a flip in the free-text metadata)."""
    folder, expected = saved(tmp_path), adapted().state_dict()
    whole = (folder / WEIGHTS).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    model, outcomes = make(), {"refused": 0, "same": 0}
    before = snapshot(model)
    for position in range(header):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        (folder / WEIGHTS).write_bytes(damaged)
        try:
            load_adapter(model, folder)
        except AdapterFileError:
            outcomes["refused"] += 1
            if position % 16 == 0:
                assert_unchanged(model, before)
        else:
            outcomes["same"] += 1
            assert_same_state(model.state_dict(), expected)
            model = make()
            before = snapshot(model)
    assert outcomes["refused"] > 10 * outcomes["same"] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"r": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("[1, 2]", "must hold a JSON object, not a list"),
        ("null", "must hold a JSON object, not a NoneType"),
        ("{}", "peft_type is None; only 'LORA' and 'VERA' are read"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(tmp_path, text, message):
    folder = saved(tmp_path)
    (folder / CONFIG).write_text(text)
    refused(folder, AdapterFileError, message)
    (folder / CONFIG).write_bytes(b"\xff\xfe{}")
    refused(folder, AdapterFileError, "is not valid JSON")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA'"),
        ({"bias": "all"}, "bias='all': trained biases are not read here"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"use_dora": True}, "layer 'left.query' has no lora_magnitude_vector"),
        ({"use_dora": 1}, "use_dora=1 must be true or false"),
        ({"use_rslora": "yes"}, "use_rslora='yes' must be true or false"),
        ({"use_qalora": True}, "settings that no variant here has: use_qalora=True"),
        ({"peft_type": "VERA"}, "holds no vera_lambda_b and vera_lambda_d tensors"),
        ({"layer_replication": [[0, 4]], "lora_bias": True}, r"layer_replication=\[\[0, 4\]\], lora_bias=True"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"a_setting_of_tomorrow": "on"}, "a_setting_of_tomorrow='on'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4' changes the base model"),
        ({"init_lora_weights": "corda"}, "init_lora_weights='corda' changes the base model"),
        ({"r": 10**30}, "has shape"),
        ({"r": 3}, r"lora_A of 'left.query' has shape \(2, 6\), but \(3, 6\) is needed"),
        ({"r": None}, r"lora_A of 'left.query' has shape \(2, 6\), but \(None, 6\)"),
        ({"r": "2"}, "has shape"),
        ({"lora_alpha": None}, "alpha=None must be a number|another r or alpha"),
        ({"lora_alpha": 0}, "alpha=0 must be a finite number|another r or alpha"),
        ({"lora_alpha": "6"}, "alpha='6' must be a number|another r or alpha"),
        ({"lora_alpha": float("nan")}, "alpha=nan must be|another r or alpha"),
        ({"lora_alpha": 10**400}, "must be a finite number|another r or alpha"),
        ({"rank_pattern": {"left.query": 1}}, r"lora_A of 'left.query' has shape \(2, 6\), but \(1, 6\)"),
        ({"rank_pattern": {"left.(": 1}}, "rank_pattern has a faulty regular expression"),
        ({"alpha_pattern": ["query"]}, r"alpha_pattern=\['query'\] must map names to numbers"),
        ({"modules_to_save": "classifier"}, "modules_to_save='classifier' must be a list of names"),
        ({"modules_to_save": [3]}, r"modules_to_save=\[3\] must be a list of names"),
        ({"modules_to_save": [""]}, "must be a list of names"),
        ({"modules_to_save": None}, "'classifier.*' that belongs to no module of the model"),
        ({"modules_to_save": ["classifier", "norm"]}, "saves module 'norm', but .* has no norm.weight"),
        ({"modules_to_save": ["classifier", "left"]}, "'left.query' has factors, but .* trained whole"),
        ({"target_modules": ["query", "up"], "modules_to_save": []}, "belongs to no module|adapts 'left.up'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_by_name(tmp_path, changes, message):
    folder = saved(tmp_path)
    edit_config(folder, **changes)
    refused(folder, AdapterFileError, message)


def test_a_dropout_that_does_not_fit_is_refused(tmp_path):
    folder = saved(tmp_path)
    edit_config(folder, lora_dropout=1.0)
    refused(folder, AdapterFileError, r"'left.query': dropout=1\.0 must be at least 0", model=make())


A, B = f"{PREFIX}left.query.lora_A.weight", f"{PREFIX}left.query.lora_B.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({A: t[A].T.contiguous()}), r"lora_A of 'left.query' has shape \(6, 2\), but \(2, 6\) is"),
        (lambda t: t.update({B: torch.zeros(5, 3)}), r"lora_B of 'left.query' has shape \(5, 3\), but \(5, 2\) is"),
        (lambda t: t.update({A: t[A].to(torch.int32)}), "lora_A of 'left.query' has dtype torch.int32"),
        (lambda t: t.pop(B), "layer 'left.query' has lora_A but not its partner"),
        (lambda t: t.pop(A), "layer 'left.query' has lora_B but not its partner"),
        (lambda t: t[A].__setitem__((0, 0), float("nan")), f"tensor '{A}' has entries that are not finite"),
        (
            lambda t: t[f"{PREFIX}classifier.bias"].fill_(float("inf")),
            "classifier.bias' has entries that are not finite",
        ),
        (lambda t: t.update({A: t[A].double() * 1e300}), "not finite, or too large for float32"),
        (lambda t: t.update({"left.query.lora_A.weight": t.pop(A)}), "does not begin with 'base_model.model.'"),
        (lambda t: t.update({f"{PREFIX}norm.weight": torch.ones(8)}), "tensor 'norm.weight' that belongs to no module"),
        (lambda t: t.update({f"{PREFIX}classifier.gain": torch.ones(8)}), "'classifier.gain', which the model has not"),
        (lambda t: t.pop(f"{PREFIX}classifier.bias"), "saves module 'classifier', but .* has no classifier.bias"),
        (lambda t: t.update({f"{PREFIX}classifier.bias": torch.ones(4)}), r"'classifier.bias' has shape \(4,\)"),
        (lambda t: t.update({f"{PREFIX}classifier.bias": torch.ones(3).int()}), "dtype torch.int32; the model's has"),
        (
            lambda t: t.update({k.replace("left", "middle"): t.pop(k) for k in (A, B)}),
            "the adapter has layer 'middle.query', which the model has not",
        ),
        (
            lambda t: t.update({k.replace("left.query", "norm"): t.pop(k) for k in (A, B)}),
            "layer 'norm', which the model has not, or which LoRA cannot adapt",
        ),
        (lambda t: [t.pop(k) for k in list(t) if "lora" in k], "holds no lora_A and lora_B tensors"),
        (lambda t: t.update({f"{PREFIX}lora_A.weight": torch.ones(2, 6)}), "belongs to no module of the model"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    folder = saved(tmp_path)
    edit_tensors(folder, change)
    refused(folder, AdapterFileError, message)


def test_a_layer_that_the_config_names_and_the_file_lacks_is_refused(tmp_path):
    folder = saved(tmp_path, whole=None)
    edit_tensors(folder, lambda t: [t.pop(key) for key in (A, B)])
    refused(folder, AdapterFileError, f"{CONFIG} adapts 'left.query', but {WEIGHTS} has no factors for it")


def test_another_base_model_is_refused(tmp_path):
    folder = saved(tmp_path)
    refused(folder, AdapterFileError, "layer '.*query', which the model has not", model=make(Nested))
    wider = make()
    wider.left["query"] = nn.Linear(7, 5)
    refused(folder, AdapterFileError, r"lora_A of 'left.query' has shape \(2, 6\), but \(2, 7\) is needed", model=wider)
    other_head = make()
    other_head.classifier = nn.Linear(8, 4)
    refused(folder, AdapterFileError, r"'classifier.* has shape", model=other_head)
    refused(folder, AdapterFileError, "which the model has not", model=nn.Linear(6, 5))


@pytest.mark.parametrize("settings", [{"targets": "up"}, {"targets": ".*"}, {"r": 1}, {"alpha": 5}])
def test_a_model_with_other_lora_layers_is_refused(tmp_path, settings):
    folder = saved(tmp_path, whole=None)
    model = adapted(whole=None, seed=4, **settings)
    refused(
        folder,
        AdapterFileError,
        r"has other LoRA layers than the adapter .* remove_lora\(model\) first|has shape",
        model,
    )


def test_an_integer_base_is_refused_as_a_fault_of_the_pair(tmp_path):
    folder, model = saved(tmp_path), make()
    model.left["query"].weight = nn.Parameter(model.left["query"].weight.to(torch.int8), requires_grad=False)
    refused(folder, AdapterFileError, "'left.query': the base weight has dtype torch.int8", model=model)


def test_float8_factors_are_read_like_any_others(tmp_path):
    folder = saved(tmp_path)
    edit_tensors(folder, lambda t: t.update({A: t[A].to(torch.float8_e4m3fn)}))
    model = load_adapter(make(), folder)
    expected = load_file(folder / WEIGHTS)[A].float()
    assert torch.equal(lora_layers(model)["left.query"].A, expected)

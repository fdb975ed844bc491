"""The training loop: the same seed gives the same bits, an interrupted run goes on exactly, a faulty one says why."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import assert_same_state, assert_unchanged, generic, make, snapshot
from torch import nn
from torch.nn import functional as F  # noqa: N812 (as in PyTorch's own documentation)

from lora_edu import add_lora, evaluate, load_adapter, lora_layers, merge, save_adapter, summary, train
from lora_edu.batches import shuffled_batches, take_rows
from lora_edu.checkpoints import fingerprint
from lora_edu.evaluation import classification, mode
from lora_edu.memory import PeakMemory
from lora_edu.progress import progress_bar
from lora_edu.training import lr_factor


class Bag(nn.Module):
    """Mean of token vectors, with dropout, a layer to adapt, a running mean and a head: (batch, length) ↦ logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 6)
        self.dropout = nn.Dropout(0.2)
        self.middle = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(-1).float()
        mean = (self.embedding(input_ids) * mask).sum(dim=1) / mask.sum(dim=1)
        return self.classifier(self.norm(torch.tanh(self.middle(self.dropout(mean)))))


def sentences(n=23, width=7, seed=0):
    """Token ids padded on the right, a mask, and a label that the tokens decide."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width - 1, (n, 1), generator=generator)  # nobody reaches the full width
    mask = (torch.arange(width) < lengths).long()
    ids = torch.randint(1, 13, (n, width), generator=generator) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": (ids.max(dim=1).values // 5).clamp(max=2)}


def model_of(seed=0, alpha=8.0, r=2, dropout=0.3):
    return add_lora(make(Bag, seed), "middle", r=r, alpha=alpha, dropout=dropout, modules_to_save="classifier").eval()


def fit(model, data=None, **settings):
    settings = {"epochs": 2, "batch_size": 5, "lr": 0.02, "progress": False} | settings
    return train(model, data or sentences(), **settings)


# --- one run -----------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_frozen_part_stays():
    model = model_of()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    report = fit(model, epochs=30)
    assert np.mean(report.losses[-10:]) < 0.8 * np.mean(report.losses[:10])
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[n], p) for n, p in frozen.items())
    assert all(not torch.equal(parameters[n], p) for n, p in before.items())


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    runs = []
    for seed in (1, 1, 2):
        model = model_of()
        report = fit(model, validation=sentences(8, seed=5), seed=seed)
        runs.append((report.losses, report.evaluations, model.state_dict()))
    assert runs[0][:2] == runs[1][:2]
    assert_same_state(runs[0][2], runs[1][2])
    assert runs[0][0] != runs[2][0]


def test_the_callers_random_numbers_and_modes_are_left_alone():
    model = model_of()
    model.norm.train()  # a mode of its own
    modes = {name: m.training for name, m in model.named_modules()}
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    fit(model, validation=sentences(8))
    assert torch.equal(torch.rand(3), expected)
    assert {name: m.training for name, m in model.named_modules()} == modes


def test_the_report_tells_what_was_done():
    model = model_of()
    report = fit(model, validation=sentences(8), epochs=3)
    s = summary(model)
    assert report.steps == len(report.losses) == 3 * math.ceil(23 / 5)
    assert (report.trained_parameters, report.total_parameters) == (s.trained_parameters, s.total_parameters)
    assert len(report.evaluations) == 3 and 0 < report.seconds < 60
    assert report.peak_memory_bytes > 10_000_000
    assert report.evaluations[-1] == evaluate(model, sentences(8))
    text = str(report)
    assert text.startswith("15 steps in ") and f"trained {s.trained_parameters} of {s.total_parameters}" in text
    assert text.endswith(f"validation accuracy {report.evaluations[-1].accuracy:.1%}")
    assert "validation" not in str(fit(model_of()))


@pytest.mark.parametrize(
    ("n", "batch_size", "epochs"), [(7, 7, 2), (7, 8, 3), (7, 1, 1), (7, 3, 4), (2, 100, 1), (6, 3, 2)]
)
def test_every_example_comes_once_an_epoch_and_every_epoch_is_evaluated(n, batch_size, epochs):
    seen = []

    def objective(model, batch):
        if model.training:
            seen.extend(batch["labels"].tolist())
        loss, hits = classification(model, {**batch, "labels": batch["labels"] % 3})
        return loss, hits

    data = sentences(n)
    data["labels"] = torch.arange(n)
    model = model_of()
    model.norm = nn.Identity()  # a batch of one has no variance
    report = fit(model, data, validation=data, objective=objective, batch_size=batch_size, epochs=epochs)
    assert report.steps == epochs * math.ceil(n / batch_size) and len(report.evaluations) == epochs
    orders = [tuple(seen[i : i + n]) for i in range(0, len(seen), n)]
    assert len(orders) == epochs and all(sorted(order) == list(range(n)) for order in orders)
    if n >= 6 and epochs > 1:
        assert len(set(orders)) > 1  # another order each epoch


def test_batches_skipped_on_resume_are_those_that_came_before():
    data = sentences(11)
    everything = list(shuffled_batches(data, 3, 4, seed=2))
    assert [len(batch["labels"]) for batch in everything] == [4, 4, 3] * 3
    for skip in range(len(everything) + 1):
        rest = list(shuffled_batches(data, 3, 4, seed=2, skip=skip))
        assert len(rest) == len(everything) - skip
        for a, b in zip(rest, everything[skip:], strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 1.0])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(warmup):
    steps = 10
    factors = [lr_factor(step, steps, warmup) for step in range(steps)]
    rising = max(1, round(warmup * steps))
    assert factors[:rising] == pytest.approx([(i + 1) / rising for i in range(rising)])
    assert factors[rising:] == pytest.approx([1 - i / (steps - rising) for i in range(steps - rising)])
    assert max(factors) == 1 and min(factors) > 0 and lr_factor(steps, steps, warmup) == 0
    assert lr_factor(0, 1, warmup) == 1  # one step, at full rate


def test_the_update_is_adamw_at_the_scheduled_rate():
    """Two steps by hand: clipping, AdamW, the schedule."""
    data, model, twin = sentences(6), model_of(dropout=0.0), model_of(dropout=0.0)
    for each in (model, twin):
        each.dropout.p = 0.0
    fit(model, data, epochs=2, batch_size=6, lr=0.05, weight_decay=0.1, warmup=1.0, max_grad_norm=0.5, seed=3)
    parameters = [p for p in twin.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.1, fused=True)
    twin.train()
    for batch, lr in zip(shuffled_batches(data, 2, 6, seed=3), (0.025, 0.05), strict=True):
        optimizer.param_groups[0]["lr"] = lr
        loss, _ = classification(twin, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
    assert_same_state(model.state_dict(), twin.state_dict())


def test_a_plain_model_and_a_head_alone_train_too():
    whole, head = make(Bag), make(Bag)
    head.requires_grad_(False).classifier.requires_grad_(True)
    for model in (whole, head):
        report = fit(model, epochs=20)
        assert np.mean(report.losses[-10:]) < np.mean(report.losses[:10])
    assert report.trained_parameters == 18


def test_what_was_trained_is_saved_and_loaded_with_the_same_output(tmp_path):
    model = model_of(dropout=0.0)
    model.norm.momentum = 0.0  # running statistics are no parameters: an adapter file does not hold them
    fit(model)
    data = sentences(9, seed=4)
    loaded = load_adapter(make(Bag).eval(), save_adapter(model, tmp_path))
    assert evaluate(loaded, data) == evaluate(model, data)


# --- data and evaluation -----------------------------------------------------------------------------------------


def test_cutting_padding_off_changes_no_loss():
    model, data = model_of(), sentences(5)
    batch = take_rows(data, torch.arange(5))
    assert batch["input_ids"].shape[1] == data["attention_mask"].sum(dim=1).max() < data["input_ids"].shape[1]
    assert torch.allclose(classification(model, batch)[0], classification(model, data)[0], rtol=1e-6)


def test_padding_on_the_left_is_cut_off_there():
    mask = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]])
    data = {"input_ids": torch.arange(10).reshape(2, 5), "attention_mask": mask, "labels": torch.tensor([1, 0])}
    batch = take_rows(data, torch.tensor([1, 0]))
    assert batch["input_ids"].tolist() == [[7, 8, 9], [2, 3, 4]] and batch["labels"].tolist() == [0, 1]


def test_evaluate_is_the_plain_mean_and_keeps_the_modes():
    model, data = model_of(), sentences(37)
    logits = model(data["input_ids"], data["attention_mask"])
    expected = F.cross_entropy(logits, data["labels"]).item()
    accuracy = (logits.argmax(dim=1) == data["labels"]).float().mean().item()
    model.train()
    model.norm.eval()
    before = snapshot(model)
    for batch_size in (1, 8, 37, 64):
        result = evaluate(model, data, batch_size=batch_size)
        assert result.loss == pytest.approx(expected, rel=1e-5) and result.accuracy == pytest.approx(accuracy)
    assert_unchanged(model, before)


def test_evaluate_takes_data_without_a_mask():
    model = make(nn.Linear, in_features=4, out_features=3)
    x, labels = generic(9, 4), torch.arange(9) % 3

    def objective(model, batch):
        logits = model(batch["x"])
        return F.cross_entropy(logits, batch["labels"]), logits.argmax(dim=1) == batch["labels"]

    result = evaluate(model, {"x": x, "labels": labels}, objective=objective, batch_size=4)
    assert result.loss == pytest.approx(F.cross_entropy(model(x), labels).item(), rel=1e-6)


def test_modes_come_back_after_an_error():
    model = model_of()
    model.norm.train()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt), mode(model, training=True):
        assert all(m.training for m in model.modules())
        raise KeyboardInterrupt
    assert_unchanged(model, before)


# --- checkpoints -------------------------------------------------------------------------------------------------


def interrupt_at(step):
    """The objective of a run that is stopped while it computes this step's loss."""
    calls = [0]

    def objective(model, batch):
        if model.training:
            calls[0] += 1
            if calls[0] == step + 1:
                raise KeyboardInterrupt
        return classification(model, batch)

    return objective


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_a_run_that_is_interrupted_anywhere_goes_on_exactly(tmp_path, every):
    settings = {"data": sentences(13), "validation": sentences(8, seed=5), "seed": 4, "weight_decay": 0.01}
    whole = model_of()
    expected = fit(whole, **settings)
    for step in range(expected.steps):
        checkpoint, model = tmp_path / f"{step}.pt", model_of()
        with pytest.raises(KeyboardInterrupt):
            fit(model, checkpoint=checkpoint, checkpoint_every=every, objective=interrupt_at(step), **settings)
        assert checkpoint.exists() is (step >= every)
        model = model_of()  # as in a new process
        torch.manual_seed(step)  # whatever random numbers came before
        report = fit(model, checkpoint=checkpoint, checkpoint_every=every, **settings)
        assert report.losses == expected.losses and report.evaluations == expected.evaluations
        assert_same_state(model.state_dict(), whole.state_dict())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pt"] * expected.steps  # nothing left over


def test_a_run_can_be_interrupted_twice_and_in_the_same_model(tmp_path):
    whole = model_of()
    expected = fit(whole)
    model, checkpoint = model_of(), tmp_path / "deep" / "er" / "run.pt"
    for step in (4, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(model, checkpoint=str(checkpoint), checkpoint_every=1, objective=interrupt_at(step))
    assert fit(model, checkpoint=checkpoint, checkpoint_every=1).losses == expected.losses
    assert_same_state(model.state_dict(), whole.state_dict())


def test_a_finished_run_returns_at_once(tmp_path):
    model, checkpoint = model_of(), tmp_path / "run.pt"
    first = fit(model, validation=sentences(8), checkpoint=checkpoint)
    other = model_of()
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    again = fit(other, validation=sentences(8), checkpoint=checkpoint)
    assert torch.equal(torch.rand(2), expected)
    assert again.losses == first.losses and again.evaluations == first.evaluations and again.steps == first.steps
    assert again.seconds == pytest.approx(first.seconds, abs=0.5)
    assert_same_state(other.state_dict(), model.state_dict())


def test_settings_from_a_numpy_sweep_can_be_resumed(tmp_path):
    checkpoint = tmp_path / "run.pt"
    sweep = {
        "lr": np.geomspace(1e-3, 1e-1, 3)[1],
        "epochs": np.int64(2),
        "seed": np.int32(1),
        "warmup": np.float32(0.5),
    }
    first = fit(model_of(), checkpoint=checkpoint, **sweep)
    assert fit(model_of(), checkpoint=checkpoint, **sweep).losses == first.losses


def other_base():
    model = model_of()
    with torch.no_grad():
        model.middle.base.weight[0, 0] += 1e-3
    return model


@pytest.mark.parametrize(
    ("make_model", "settings", "message"),
    [
        (model_of, {"lr": 0.03}, r"lr is 0\.03 but was 0\.02"),
        (model_of, {"epochs": 3, "seed": 1}, "epochs is 3 but was 2; seed is 1 but was 0"),
        (model_of, {"data": sentences(24)}, "data is '.*' but was '.*'"),
        (model_of, {"validation": sentences(9)}, "validation is"),
        (other_base, {}, "frozen weights is"),
        (lambda: model_of(alpha=4.0), {}, "LoRA layers is"),
        (lambda: model_of(dropout=0.1), {}, "LoRA layers is"),
        (lambda: model_of(r=1), {}, "LoRA layers is"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, make_model, settings, message):
    checkpoint = tmp_path / "run.pt"
    fit(model_of(), validation=sentences(8), checkpoint=checkpoint)
    model = make_model()
    before, stored = snapshot(model), checkpoint.read_bytes()
    with pytest.raises(ValueError, match=rf"comes from another training \(.*{message}.*\): delete it to start anew"):
        fit(model, **{"validation": sentences(8), "checkpoint": checkpoint} | settings)
    assert_unchanged(model, before)
    assert checkpoint.read_bytes() == stored


def test_a_checkpoint_of_a_model_that_trains_other_tensors_is_refused(tmp_path):
    checkpoint = tmp_path / "run.pt"
    plain = make(Bag)
    fit(plain, checkpoint=checkpoint)
    model = make(Bag)
    model.classifier = nn.Linear(5, 4)
    before = snapshot(model)
    with pytest.raises(ValueError, match="holds other trained tensors than the model has"):
        fit(model, checkpoint=checkpoint)
    assert_unchanged(model, before)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "other content", "no settings", "pickle"])
def test_a_damaged_checkpoint_is_refused_and_stays(tmp_path, damage):
    checkpoint = tmp_path / "run.pt"
    fit(model_of(), checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    if damage == "other content":
        torch.save([1, 2], checkpoint)
    elif damage == "no settings":
        torch.save({"settings": None, "tensors": {}, "rng": {}}, checkpoint)
    elif damage == "pickle":
        torch.save({"settings": os.system}, checkpoint)  # never run: weights_only
    else:
        checkpoint.write_bytes({"empty": b"", "text": b"not a checkpoint", "half": whole[: len(whole) // 2]}[damage])
    model, stored = model_of(), checkpoint.read_bytes()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"run.pt is damaged, or no checkpoint \(\w+\): delete it to start anew"):
        fit(model, checkpoint=checkpoint)
    assert_unchanged(model, before)
    assert checkpoint.read_bytes() == stored


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(model_of(), checkpoint=checkpoint, checkpoint_every=1, objective=interrupt_at(2))
    stored = checkpoint.read_bytes()

    def failing_save(state, path):
        path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", failing_save)
    with pytest.raises(OSError, match="no space left"):
        fit(model_of(), checkpoint=checkpoint, checkpoint_every=1)
    assert checkpoint.read_bytes() == stored and list(tmp_path.iterdir()) == [checkpoint]


def test_fingerprints_tell_values_names_shapes_and_dtypes_apart():
    base = {"x": torch.arange(6), "n": torch.tensor(3)}
    others = [
        {"x": torch.arange(6).flip(0), "n": torch.tensor(3)},
        {"x": torch.arange(6).reshape(2, 3), "n": torch.tensor(3)},
        {"x": torch.arange(6).to(torch.int32), "n": torch.tensor(3)},
        {"y": torch.arange(6), "n": torch.tensor(3)},
        {"x": torch.arange(6)},
        {},
    ]
    assert fingerprint(base) == fingerprint({"n": torch.tensor(3), "x": torch.arange(12)[::2] // 2})
    assert len({fingerprint(each) for each in [base, *others]}) == 1 + len(others)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"checkpoint_every": -1}, "checkpoint_every=-1 must be at least 1"),
        ({"lr": 0}, r"lr=0\.0 must be a finite number above 0"),
        ({"lr": math.nan}, "lr=nan must be a finite number"),
        ({"lr": math.inf}, "lr=inf must be a finite number"),
        ({"warmup": 1.5}, r"warmup=1\.5 is a share of the steps"),
        ({"warmup": -0.1}, r"warmup=-0\.1 is a share"),
        ({"max_grad_norm": 0}, r"max_grad_norm=0\.0 must be above 0"),
        ({"max_grad_norm": -1.0}, r"max_grad_norm=-1\.0 must be above 0"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"data": {"input_ids": torch.ones(3, 2)}}, "data has no 'labels', only 'input_ids'"),
        ({"data": sentences() | {"labels": torch.zeros(20)}}, "one common length above 0, not {'input_ids': 23"),
        ({"data": {key: value[:0] for key, value in sentences().items()}}, "one common length above 0"),
        ({"validation": {"labels": torch.zeros(0)}}, "the tensors of validation must have one common length"),
        ({"validation": {}}, "validation has no 'labels', only nothing"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_happens(tmp_path, settings, message):
    model = model_of()
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        fit(model, **settings, checkpoint=tmp_path / "run.pt")
    assert_unchanged(model, before)
    assert not list(tmp_path.iterdir())


def test_counts_must_be_whole_numbers():
    with pytest.raises(TypeError, match="integer"):
        fit(model_of(), epochs=2.0)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient: call add_lora"):
        fit(make(Bag).requires_grad_(False))


def test_a_merged_model_is_refused():
    with pytest.raises(ValueError, match=r"1 LoRA layers are merged, 'middle' first.*unmerge\(model\) first"):
        fit(merge(model_of()))


def test_a_layer_that_the_forward_pass_does_not_use_is_named():
    class WithSpare(Bag):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(6, 5)

    model = add_lora(make(WithSpare), ["middle", "spare"], r=2, alpha=4)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=r"2 LoRA factors receive no gradient, 'spare.A' first"):
        fit(model)
    assert snapshot(model)["flags"] == before["flags"]
    assert all(
        torch.equal(p, q)
        for p, q in zip(model.parameters(), [before["state"][n] for n, _ in model.named_parameters()], strict=True)
    )


def test_a_forward_pass_without_gradients_is_named():
    def objective(model, batch):
        with torch.no_grad():
            return classification(model, batch)

    with pytest.raises(RuntimeError, match="the loss depends on no parameter that trains"):
        fit(model_of(), objective=objective)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights_are_lost(tmp_path, what):
    calls = [0]

    def objective(model, batch):
        loss, hits = classification(model, batch)
        calls[0] += 1
        if calls[0] == 4:
            # the square root of 0 has an infinite slope, though the loss itself is finite
            loss = loss * math.nan if what == "loss" else loss + torch.sqrt(loss - loss)
        return loss, hits

    model, checkpoint = model_of(), tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 3: try a smaller lr than 0\.02"):
        fit(model, objective=objective, checkpoint=checkpoint, checkpoint_every=1)
    assert all(p.isfinite().all() for p in model.parameters())
    expected = fit(model_of())
    assert fit(model_of(), checkpoint=checkpoint, checkpoint_every=1).losses == expected.losses


# --- memory and progress -----------------------------------------------------------------------------------------


def test_peak_memory_sees_two_hundred_megabytes_and_forgets_them():
    cpu, size = torch.device("cpu"), 200_000_000
    with PeakMemory(cpu) as idle:
        pass
    with PeakMemory(cpu) as busy:
        del_me = torch.ones(size, dtype=torch.uint8)
        del del_me
    assert 0.9 * size < busy.bytes - idle.bytes < 1.3 * size
    if sys.platform == "linux":
        with PeakMemory(cpu) as after:
            pass
        assert after.bytes - idle.bytes < 0.5 * size


def test_peak_memory_falls_back_where_there_is_no_proc(monkeypatch):
    import resource
    from pathlib import Path

    def no_proc(self, *args, **kwargs):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", no_proc)
    monkeypatch.setattr(Path, "write_text", no_proc)
    with PeakMemory(torch.device("cpu")) as peak:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak.bytes == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, rel=0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_runs_repeat_resume_and_leave_its_generator_alone(tmp_path):
    gpu = torch.device("cuda", 0)
    whole, settings = model_of().to(gpu), {"checkpoint_every": 1, "validation": sentences(8)}
    torch.cuda.manual_seed(7)
    expected_draw = torch.rand(3, device=gpu)
    torch.cuda.manual_seed(7)
    expected = fit(whole, **settings)
    assert torch.equal(torch.rand(3, device=gpu), expected_draw)
    assert 0 < expected.peak_memory_bytes < 1e8
    model = model_of().to(gpu)
    with pytest.raises(KeyboardInterrupt):
        fit(model, checkpoint=tmp_path / "run.pt", objective=interrupt_at(5), **settings)
    model = model_of().to(gpu)
    report = fit(model, checkpoint=tmp_path / "run.pt", **settings)
    assert report.losses == expected.losses and report.evaluations == expected.evaluations
    assert_same_state(model.state_dict(), whole.state_dict())
    torch.cuda.manual_seed(7)
    fit(model_of())  # on the CPU: the GPU's generator is not its business
    assert torch.equal(torch.rand(3, device=gpu), expected_draw)
    loaded = load_adapter(make(Bag).to(gpu), save_adapter(whole, tmp_path / "adapter"))
    assert {p.device for p in loaded.parameters()} == {gpu}
    assert lora_layers(loaded)["middle"].A.equal(lora_layers(whole)["middle"].A)


def test_a_silent_bar_writes_nothing(capfd):
    fit(model_of(), progress=False)
    with progress_bar(3, "work", show=False) as bar:
        bar.update()
    assert capfd.readouterr() == ("", "")


def test_a_bar_in_a_terminal_goes_to_standard_error_and_is_wiped_at_the_end(capfd):
    fit(model_of(), progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "training" in err and "10/10" in err
    assert err.split("\r")[-1].strip() == ""


def test_a_bar_in_a_notebook_leaves_one_empty_output(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = (
        "from lora_edu.progress import progress_bar\n"
        "with progress_bar(3, 'work <b>') as bar:\n"
        "    for _ in range(3):\n"
        "        bar.update()\n"
        "        bar.refresh()\n"
        "    shown = bar.line\n"
    )
    cells = [nbformat.v4.new_code_cell(source), nbformat.v4.new_code_cell("type(shown).__name__, shown.handle is None")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    displayed = []
    process_message = client.process_message

    def listen(message, cell, cell_index):
        displayed.append(message["content"].get("data", {}).get("text/html"))
        return process_message(message, cell, cell_index)

    client.process_message = listen
    client.execute(cwd=os.getcwd())
    outputs = notebook.cells[0].outputs
    assert [o.output_type for o in outputs] == ["display_data"] and outputs[0].data == {"text/html": ""}
    assert any(text and "3/3" in text and "&lt;b&gt;" in text for text in displayed)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "('_NotebookLine', False)"


def test_the_bar_works_where_ipython_is_not_installed():
    code = (
        "import sys; sys.modules['IPython'] = None\n"
        "from lora_edu.progress import _in_notebook, progress_bar\n"
        "assert not _in_notebook()\n"
        "with progress_bar(1, 'x') as bar: bar.update()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_bar_in_a_notebook_without_a_kernel(monkeypatch):
    """The same in this process, with a display that records what it is given."""
    import IPython
    import IPython.display

    class Handle:
        def __init__(self):
            self.shown = []

        def update(self, data, raw):
            assert raw
            self.shown.append(data["text/html"])

    class Shell:
        def __init__(self):
            self.config = {"IPKernelApp": {}}

    handle = Handle()
    monkeypatch.setattr(IPython, "get_ipython", Shell)
    monkeypatch.setattr(IPython.display, "display", lambda data, raw, display_id: handle)
    with progress_bar(2, "work") as bar:
        for _ in range(2):
            bar.update()
            bar.refresh()
    assert any("2/2" in text for text in handle.shown)
    assert handle.shown[-1] == ""

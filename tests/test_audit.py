"""The audit: lora_edu passes all that it promises, and each planted mistake fails its own questions and no others."""

import math
import tempfile

import pytest
import torch
from helpers import generic
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lora_edu import AdapterBank, add_lora, load_adapter, save_adapter
from lora_edu.audit import INVARIANTS, Audit, audit, invariant_says

R, ALPHA = 4, 6
NOT_PROMISED = {
    "dora": ("rank", "rule", "gradients"),
    "pissa": ("rank", "rule", "start", "gradients"),
    "olora": ("rank", "rule", "start", "gradients"),
    "vera": ("rule", "start", "gradients"),
}


# --- lora_edu --------------------------------------------------------------------------------------------------------


def in_bank(modules, weights):
    """Σ wᵢ · adapterᵢ of models that are `nn.Sequential(adapted layer)`, as the bank combines it."""
    bank = AdapterBank(nn.Sequential(modules[0][0].base))
    with tempfile.TemporaryDirectory() as folder:
        for number, module in enumerate(modules):
            save_adapter(module, f"{folder}/{number}")
            bank.load(str(number), f"{folder}/{number}")
    return bank.use({str(number): weight for number, weight in enumerate(weights)})


def by_file(module, base):
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(module, folder)
        return load_adapter(nn.Sequential(base), folder)


def our_audit(variant, **settings):
    alpha = R if variant == "vera" else ALPHA

    def with_dropout(p):
        return lambda base: add_lora(nn.Sequential(base), "0", R, alpha, p, variant=variant)

    return audit(
        with_dropout(0.0),
        R,
        alpha,
        dropout=with_dropout(0.5),
        scaling=alpha / math.sqrt(R) if "rslora" in variant else None,
        skip=NOT_PROMISED.get(variant, ()),
        merge=lambda m: m[0].merge(),
        unmerge=lambda m: m[0].unmerge(),
        reload=by_file,
        combine=in_bank,
        **settings,
    )


@pytest.mark.parametrize("variant", ["lora", "rslora", "lora-fa", "dora", "pissa", "olora", "vera"])
def test_every_variant_of_the_package_passes_all_that_it_promises(variant):
    report = our_audit(variant)
    assert report, report
    asked = [f.invariant for f in report.findings if f.verdict == "holds"]
    assert set(asked) == set(INVARIANTS) - set(NOT_PROMISED.get(variant, ()))


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora", "pissa"])
@pytest.mark.parametrize(
    ("base", "x"),
    [
        (lambda: nn.Linear(24, 18, bias=False), generic(5, 24)),
        (lambda: nn.Linear(16, 16), generic(3, 4, 16)),
        (lambda: nn.Embedding(24, 18), torch.arange(24).view(4, 6)),
        (lambda: nn.Conv2d(6, 8, 3, dilation=2, padding="same"), generic(2, 6, 8, 7)),
    ],
    ids=["no bias", "square", "embedding", "convolution"],
)
def test_other_layers_of_the_package_pass_all_that_can_be_asked(variant, base, x):
    report = our_audit(variant, base=base, x=x)
    assert report, report
    assert report["merge"].verdict == report["unmerge"].verdict == report["sum of two"].verdict == "holds"


def test_a_whole_model_is_asked_what_makes_sense_for_it():
    def model():
        return nn.Sequential(nn.Linear(24, 12), nn.Tanh(), nn.Linear(12, 18))

    report = audit(lambda m: add_lora(m, ["0", "2"], R, ALPHA), R, ALPHA, base=model, x=generic(3, 4, 24))
    assert report and report["rule"].verdict == "not asked" and "no linear map" in report["rule"].reading
    assert report["adapters train"].verdict == report["save"].verdict == "holds"


# --- planted mistakes ------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self, base, r=R, alpha=ALPHA, dropout=0.0):
        super().__init__()
        self.base, self.r, self.scaling, self.p = base.requires_grad_(False), r, alpha / r, dropout
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        self.kept = None
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def drop(self, x):
        return F.dropout(x, self.p, self.training)

    def path(self, x):
        return self.scaling * self.drop(x) @ self.A.T @ self.B.T

    def forward(self, x):
        return self.base(x) if self.kept is not None else self.base(x) + self.path(x)

    def delta_weight(self):
        return self.scaling * self.B @ self.A

    @torch.no_grad()
    def merge(self):
        if self.kept is None:
            self.kept = self.base.weight.clone()
            self.base.weight += self.delta_weight()

    @torch.no_grad()
    def unmerge(self):
        self.base.weight.copy_(self.kept)
        self.kept = None


class NoDivision(Plain):
    def __init__(self, base, r=R, alpha=ALPHA, dropout=0.0):
        super().__init__(base, r, alpha, dropout)
        self.scaling = alpha


class StoredTransposed(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.A = nn.Parameter(torch.empty_like(self.A.T.contiguous()))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def path(self, x):
        return self.scaling * self.drop(x) @ self.A @ self.B.T

    def delta_weight(self):
        return self.scaling * self.B @ self.A.T


class BothZero(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.zeros_(self.A)


class BothRandom(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.kaiming_uniform_(self.B)


class GaussianStart(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.normal_(self.A, std=1 / math.sqrt(3 * self.A.shape[1]))


class Detached(Plain):
    def path(self, x):
        return self.scaling * self.drop(x) @ self.A.detach().T @ self.B.T


class FrozenB(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.B.requires_grad_(False)


class NeverCalled(Plain):
    def forward(self, x):
        return self.base(x)


class OpenBase(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.base.requires_grad_(True)


class DropoutInEval(Plain):
    def drop(self, x):
        return F.dropout(x, self.p)


class DropoutOnAll(Plain):
    def forward(self, x):
        return self.base(self.drop(x)) if self.kept is not None else self.base(self.drop(x)) + self.path(x)


class DropoutInMerge(Plain):
    def delta_weight(self):
        return self.path(torch.eye(self.base.in_features, dtype=self.A.dtype)).T


class MergesTwice(Plain):
    @torch.no_grad()
    def merge(self):
        self.kept = self.base.weight.clone() if self.kept is None else self.kept
        self.base.weight += self.delta_weight()


class MergesUnscaled(Plain):
    def delta_weight(self):
        return self.B @ self.A


class StaysInForward(Plain):
    def forward(self, x):
        return self.base(x) + self.path(x)


class Subtracts(Plain):
    @torch.no_grad()
    def unmerge(self):
        self.base.weight -= self.delta_weight()
        self.kept = None


class NoFlagToUnmerge(Plain):
    @torch.no_grad()
    def unmerge(self):
        self.kept = None


class Float32Out(Plain):
    def path(self, x):
        return super().path(x).float()


class NormOfRows(Plain):
    def forward(self, x):
        return super().forward(x) * (self.base.weight.norm(dim=1) / self.base.weight.norm(dim=1))


PLANTED = {
    NoDivision: {"rule", "gradients"},
    StoredTransposed: {"start"},
    BothZero: {"adapters train", "start"},
    BothRandom: {"identity", "identity, dropout"},
    GaussianStart: {"start"},
    Detached: {"adapters train", "gradients"},
    FrozenB: {"adapters train"},
    NeverCalled: {"adapters train", "merge", "gradients"},  # merged, it acts for the first time
    OpenBase: {"base frozen"},
    DropoutInEval: {"one matrix"},
    DropoutOnAll: {"identity, dropout", "dropout inside", "merge, dropout"},
    DropoutInMerge: {"merge, dropout"},
    MergesTwice: {"merge twice"},
    MergesUnscaled: {"merge"},
    StaysInForward: {"merge", "merge, dropout"},
    Subtracts: {"unmerge"},
    NoFlagToUnmerge: {"unmerge"},
    Float32Out: {"bfloat16"},
    NormOfRows: {"row of zeros"},
}


def audit_of(kind, **settings):
    return audit(kind, R, ALPHA, dropout=lambda base: kind(base, dropout=0.5), **settings)


def test_the_plain_layer_holds_all():
    report = audit_of(Plain)
    assert report and {f.invariant for f in report.findings if f.verdict == "not asked"} == {
        "one at weight 1",
        "sum of two",
    }


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_a_planted_mistake_fails_its_own_questions_and_no_others(kind):
    report = audit_of(kind)
    assert set(report.fails) == PLANTED[kind], report


# --- what the readings say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "question", "text"),
    [
        (NoDivision, "rule", "multiplied by 6, which is α: the division by r is missing; promised is 1.5"),
        (StoredTransposed, "start", "A is 2.[345]. times as wide as .*which is √.in/r."),
        (BothZero, "start", "A starts at 0"),
        (GaussianStart, "start", "another distribution"),
        (BothZero, "adapters train", "2 of 2 tensors are dead"),
        (FrozenB, "rule", "ΔW stays 0"),
        (OpenBase, "base frozen", "base.weight, base.bias"),
        (Subtracts, "unmerge", "keep W₀ instead"),
        (NoFlagToUnmerge, "unmerge", "W₀ is not got back"),
        (Float32Out, "bfloat16", "dtype float32"),
    ],
)
def test_the_reading_names_the_cause(kind, question, text):
    import re

    assert re.search(text, audit_of(kind)[question].reading), audit_of(kind)[question]


@pytest.mark.parametrize(
    ("scaling", "text"),
    [(ALPHA / 2, "α/√r"), (1.0, "there is no scaling"), (ALPHA / 16, "divided twice"), (2.25, "scaled twice")],
)
def test_the_scaling_that_was_used_is_deduced_from_the_outputs(scaling, text):
    def make(base):
        layer = Plain(base)
        layer.scaling = scaling
        return layer

    report = audit(make, R, ALPHA)
    assert set(report.fails) == {"rule", "gradients"} and text in report["rule"].reading
    assert "rule" not in audit(make, R, ALPHA, scaling=scaling).fails


def test_a_transposed_update_is_an_error_in_a_rectangular_layer_and_named_in_a_square_one():
    class Turned(Plain):
        def path(self, x):
            return self.scaling * x @ self.B @ self.A

    with pytest.raises(
        ValueError, match=r"raises RuntimeError on inputs of shape \(3, 4, 24\).*only square layers work"
    ):
        audit(Turned, R, ALPHA)
    report = audit(Turned, R, ALPHA, base=lambda: nn.Linear(16, 16))
    assert set(report.fails) == {"rule", "gradients", "merge"} and "transpose" in report["rule"].reading


def summed(modules, weights, rule):
    new = Plain(modules[0].base)
    new.A.data, new.B.data, new.scaling = rule(
        [(w, m.scaling, m.B.data, m.A.data) for m, w in zip(modules, weights, strict=True)]
    )
    return new


SUMS = {
    "side by side": (
        lambda parts: (torch.cat([A for *_, A in parts]), torch.cat([w * s * B for w, s, B, _ in parts], 1), 1.0),
        set(),
        "",
    ),
    "factors added": (
        lambda parts: (sum(w**0.5 * A for w, *_, A in parts), sum(w**0.5 * B for w, _, B, _ in parts), parts[0][1]),
        {"sum of two"},
        "Cross terms",
    ),
    "the root of r forgotten": (
        lambda parts: (
            torch.cat([A for *_, A in parts]),
            torch.cat([w * s * B for w, s, B, _ in parts], 1),
            math.sqrt(sum(len(A) for *_, A in parts)),
        ),
        {"one at weight 1", "sum of two"},
        "2.828 = √r times",
    ),
}


@pytest.mark.parametrize("how", SUMS)
def test_a_weighted_sum_is_asked_of_one_and_of_two(how):
    rule, fails, text = SUMS[how]
    report = audit(Plain, R, ALPHA, combine=lambda modules, weights: summed(modules, weights, rule))
    assert set(report.fails) == fails and text in report["sum of two"].reading


def test_what_is_not_in_the_file_is_missed():
    def without_b(module, base):
        state = {key: tensor for key, tensor in module.state_dict().items() if key != "B"}
        loaded = Plain(base)
        loaded.load_state_dict(state, strict=False)
        return loaded

    assert audit(Plain, R, ALPHA, reload=without_b).fails == ["save"]


def test_factors_are_found_by_shape_or_told():
    class Odd(Plain):
        def __init__(self, base):
            super().__init__(base)
            self.other = nn.Parameter(torch.zeros_like(self.A))

    assert "2 tensors have the shape of A" in audit(Odd, R, ALPHA)["rule"].reading
    assert audit(Odd, R, ALPHA, factors=lambda m: (m.A, m.B))["rule"].verdict == "holds"
    assert "neither (4, 24) nor (24, 4)" in audit(Odd, R, ALPHA, factors=lambda m: (m.B, m.B))["rule"].reading


def test_an_error_inside_the_code_is_a_finding():
    class Raises(Plain):
        def merge(self):
            raise RuntimeError("no merge today")

        def unmerge(self):
            raise NotImplementedError("never")

    report = audit(Raises, R, ALPHA, unmerge=lambda m: m.unmerge(), merge=lambda m: m)
    assert report["unmerge"].verdict == "not asked" and report["unmerge"].reading == "The code refuses: never"
    report = audit(Raises, R, ALPHA)
    assert report["merge"].reading == "RuntimeError: no merge today" and report["merge"].verdict == "fails"


# --- errors of the caller --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: audit(Plain, 1, 6), ValueError, "r=1, alpha=6 would hide a wrong scaling: take r ≥ 2 and alpha ≠ r"),
        (lambda: audit(Plain, 4, 4), ValueError, "r=4, alpha=4 would hide a wrong scaling"),
        (lambda: audit(Plain, 4, 6, skip=["rnk"]), ValueError, r"skip=\['rnk'\] names no invariant: there are"),
        (lambda: audit(nn.Linear(3, 3), 4, 6), TypeError, "must be a function .* not a Linear"),
        (lambda: audit(None, 4, 6), TypeError, "not a NoneType"),
        (lambda: audit(lambda base: None, 4, 6), TypeError, "must return the adapted module, not a NoneType"),
        (lambda: audit(Plain, 4, 6, x=[1.0]), TypeError, "x must be a tensor, not a list"),
        (lambda: audit(Plain, 4, 6, base=nn.Tanh), ValueError, "the base is a Tanh: pass x"),
        (
            lambda: audit(lambda base: nn.Linear(24, 5), 4, 6),
            ValueError,
            r"of shape \(3, 4, 24\) the base gives \(3, 4, 18\), the adapted one shape \(3, 4, 5\)",
        ),
        (lambda: audit(lambda base: nn.Linear(7, 18), 4, 6), ValueError, "the adapted module raises RuntimeError"),
    ],
)
def test_nonsense_is_refused_with_its_values(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_report_shows_itself_and_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    report = audit_of(NoDivision)
    assert torch.equal(torch.rand(1), expected)
    assert isinstance(report, Audit) and not report
    lines = repr(report).splitlines()
    assert lines[0].split() == ["invariant", "verdict", "measured", "allowed"] and len(lines) == len(INVARIANTS) + 3
    assert any(line.startswith("rule ") and "fails" in line and line.split()[-2:] == ["3", "1e-5"] for line in lines)
    page = report._repr_html_()
    assert page.count("<tr>") == len(INVARIANTS) + 1 and "division by r is missing" in page
    with pytest.raises(KeyError):
        report["nothing"]
    assert all(invariant_says(name).endswith(".") or ":" in invariant_says(name) for name in INVARIANTS)


# --- other people's code ---------------------------------------------------------------------------------------------

peft = pytest.importorskip("peft")
loralib = pytest.importorskip("loralib")
IN_PEFT = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
FAILS_IN_PEFT = {
    "lora": {"unmerge"},
    "rslora": {"unmerge", "one at weight 1", "sum of two"},
    "dora": {"unmerge", "one at weight 1", "sum of two", "dropout inside", "row of zeros"},
    "pissa": {"unmerge", "one at weight 1", "sum of two", "identity, dropout"},
    "olora": {"unmerge", "one at weight 1", "sum of two", "identity, dropout"},
}


def in_peft(variant, dropout=0.0):
    config = peft.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["0"], lora_dropout=dropout, **IN_PEFT[variant])
    return lambda base: peft.get_peft_model(nn.Sequential(base), config)


def combined_by_peft(how):
    def combine(modules, weights):
        model, names = modules[0], ["default"]
        for other in modules[1:]:
            names.append(f"adapter{len(names)}")
            model.add_adapter(names[-1], model.peft_config["default"])
            peft.set_peft_model_state_dict(model, peft.get_peft_model_state_dict(other), names[-1])
        model.add_weighted_adapter(names, weights, "sum", combination_type=how)
        model.set_adapter("sum")
        return model

    return combine


def reloaded_by_peft(module, base):
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        return peft.PeftModel.from_pretrained(nn.Sequential(base), folder)


def audit_of_peft(variant, how="cat", **settings):
    return audit(
        in_peft(variant),
        R,
        ALPHA,
        dropout=in_peft(variant, 0.5),
        scaling=ALPHA / math.sqrt(R) if variant == "rslora" else None,
        skip=NOT_PROMISED.get(variant, ()),
        merge=lambda m: m.merge_adapter(),
        unmerge=lambda m: m.unmerge_adapter(),
        reload=reloaded_by_peft,
        combine=combined_by_peft(how),
        **settings,
    )


@pytest.mark.parametrize("variant", IN_PEFT)
def test_what_fails_in_peft(variant):
    report = audit_of_peft(variant)
    assert set(report.fails) == FAILS_IN_PEFT[variant], report
    assert report["unmerge"].measured < 1e-6
    if variant == "rslora":
        assert report["one at weight 1"].measured == pytest.approx(math.sqrt(R) - 1, rel=1e-4)
        assert report["sum of two"].measured == pytest.approx(math.sqrt(2 * R) - 1, rel=1e-4)


@pytest.mark.parametrize(("how", "fails"), [("linear", True), ("svd", True), ("cat", False)])
def test_only_factors_side_by_side_are_a_sum_in_peft(how, fails):
    report = audit_of_peft("lora", how)
    assert ("sum of two" in report.fails) == fails and "one at weight 1" not in report.fails


@pytest.mark.parametrize(
    ("setting", "fails"),
    [({"dilation": 2, "padding": "same"}, {"merge", "unmerge"}), ({"padding": 1}, {"unmerge"})],
)
def test_what_fails_in_peft_beside_a_convolution(setting, fails):
    report = audit_of_peft("lora", base=lambda: nn.Conv2d(6, 8, 3, **setting), x=generic(2, 6, 8, 7))
    assert set(report.fails) == fails, report


def in_loralib(dropout=0.0):
    def make(base):
        layer = loralib.Linear(base.in_features, base.out_features, r=R, lora_alpha=ALPHA, lora_dropout=dropout)
        layer = layer.to(base.weight.dtype)
        layer.load_state_dict(base.state_dict(), strict=False)
        loralib.mark_only_lora_as_trainable(layer)
        return layer

    return make


def test_what_fails_in_loralib():
    def reload(module, base):
        other = in_loralib()(base)
        other.load_state_dict(loralib.lora_state_dict(module), strict=False)
        return other

    modes = {"merge": lambda m: m.eval(), "unmerge": lambda m: m.train()}
    report = audit(in_loralib(), R, ALPHA, dropout=in_loralib(0.5), reload=reload, **modes)
    assert report.fails == ["unmerge"], report
    report = audit(in_loralib(), R, ALPHA, **modes)
    assert set(report.fails) == {"unmerge", "save"}, report  # the state dict of eval mode holds W₀ + ΔW, and A and B

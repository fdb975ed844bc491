"""What a training has to beat, and how sure a test of n sentences can be.

Two baselines need no LoRA: always the commonest label, and a linear head on the frozen encoder. Both are judged on
the same test part. Next: `fine_tuning`, which sets LoRA beside them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from .batches import take_rows
from .evaluation import mode
from .models import TextClassifier
from .training import train


def wilson_interval(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of Wilson (1927) for a share of which `right` of `n` trials are a sample.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), with p = right / n and z the quantile of the normal distribution.
    It stays inside [0, 1], and is no point when all n are right.

    Raises ValueError unless 0 ≤ right ≤ n, n ≥ 1 and 0 < level < 1.
    """
    if not 0 <= right <= n or n < 1 or not 0 < level < 1:
        raise ValueError(f"right={right} of n={n} at level={level} is no share of trials")
    p, z = right / n, NormalDist().inv_cdf((1 + level) / 2)
    centre = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # the ends 0 and 1 are exact, and rounding may not move them inside
    low = 0.0 if right == 0 else (centre - half) / (1 + z**2 / n)
    return low, 1.0 if right == n else (centre + half) / (1 + z**2 / n)


def chance_of_difference(better: int, worse: int) -> float:
    """How often fair coins differ as much: the two-sided sign test on the sentences that only one of two gets right.

    `better` counts those that only the one gets right, `worse` those that only the other does. Raises ValueError for a
    negative count.
    """
    if better < 0 or worse < 0:
        raise ValueError(f"better={better} and worse={worse} must be counts")
    n, least = better + worse, min(better, worse)
    # as a fraction of whole numbers: 2.0**n overflows where n is above a thousand
    return min(1.0, float(Fraction(2 * sum(math.comb(n, k) for k in range(least + 1)), 2**n)))


def commonest(labels: Sequence[int]) -> int:
    """The label that stands most often; of several, the first."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def logits_of(model: nn.Module, data: Mapping[str, Tensor], batch_size: int = 64) -> Tensor:
    """What the model gives for each row of `data`, in its order, in evaluation mode: shape (n, …), on the CPU."""
    device = next(model.parameters()).device
    order = data["attention_mask"].sum(dim=1).argsort(stable=True)  # of like length together: little padding
    outputs = []
    with torch.no_grad(), mode(model, training=False):
        for rows in torch.split(order, batch_size):
            batch = {key: value.to(device) for key, value in take_rows(data, rows).items() if key != "labels"}
            outputs.append(model(**batch).cpu())
    return torch.cat(outputs)[order.argsort()]


def features_of(model: TextClassifier, data: Mapping[str, Tensor]) -> Tensor:
    """The mean token vector of each row, which the head sees: shape (n, width)."""
    head, model.classifier = model.classifier, nn.Identity()  # type: ignore[assignment]
    try:
        return logits_of(model, data)
    finally:
        model.classifier = head


def frozen_head(
    model: TextClassifier, parts: Mapping[str, Mapping[str, Tensor]], *, seed: int, epochs: int = 60, lr: float = 1e-3
) -> Tensor:
    """Logits on "test" of a linear head that `train` fits to the frozen encoder's features of "train".

    The encoder runs over each text once, so this takes little more than a look at the data. Shape (n, classes).
    """
    train_features = features_of(model, parts["train"])
    mean, spread = train_features.mean(dim=0), train_features.std(dim=0) + 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = nn.Linear(train_features.shape[1], model.classifier.out_features)
    data = {"input": (train_features - mean) / spread, "labels": parts["train"]["labels"]}
    train(head, data, epochs=epochs, lr=lr, weight_decay=1.0, seed=seed, progress=False)
    with torch.no_grad():
        logits: Tensor = head((features_of(model, parts["test"]) - mean) / spread)
    return logits


def judge(known: Tensor, truth: Tensor, frozen: Tensor, tuned: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Three methods on one test part: how many each gets right, with an interval, and whether LoRA's lead is luck.

    `known` are the labels of the training part, `truth` those of the test part, and `frozen` and `tuned` what the head
    on the frozen encoder and LoRA say, all as places in `names`, shape (n,).
    """
    guess = commonest(known.tolist())
    given = {"always " + repr(names[guess]): torch.full_like(truth, guess), "frozen encoder": frozen, "LoRA": tuned}
    hits = {method: predicted == truth for method, predicted in given.items()}
    better = int((hits["LoRA"] & ~hits["frozen encoder"]).sum())
    worse = int((~hits["LoRA"] & hits["frozen encoder"]).sum())
    n = len(truth)
    return {
        "n": n,
        "methods": {
            method: {
                "right": int(hit.sum()),
                "accuracy": int(hit.sum()) / n,
                "interval": wilson_interval(int(hit.sum()), n),
            }
            for method, hit in hits.items()
        },
        "only LoRA right": better,
        "only frozen encoder right": worse,
        "chance of such a difference": chance_of_difference(better, worse),
        "right of each class": {
            name: [int((hits["LoRA"] & (truth == i)).sum()), int((truth == i).sum())] for i, name in enumerate(names)
        },
    }

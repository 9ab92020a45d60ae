"""Two ranks whose parts differ in known labels: what data parallelism averages is the loss of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.losses.inputs import many_labels, one_label, tail
from tests.losses.made import made_loss

SCRIPT = Path(__file__).with_name("loss_ranks.py")
ROOT = SCRIPT.parents[2]
CASES = {
    "binary_cross_entropy": ("binary_cross_entropy", {}, many_labels),
    "cross_entropy": ("cross_entropy", {}, one_label),
    "weighted cross_entropy": ("cross_entropy", {"weighting": {"kind": "inverse"}}, one_label),
    "weighted binary_cross_entropy": ("binary_cross_entropy", {"weighting": {"kind": "square_root"}}, many_labels),
    "balanced_softmax": ("balanced_softmax", {}, one_label),
    "logit_adjustment": ("logit_adjustment", {}, one_label),
    "ldam": ("ldam", {"weighting": {"kind": "effective_number"}}, one_label),
    "ldam of several labels": ("ldam", {}, many_labels),
    "sigmoid focal": ("focal", {}, many_labels),
    "softmax focal": ("focal", {}, one_label),
    "asymmetric, mean": ("asymmetric", {}, many_labels),
    "asymmetric, sum": ("asymmetric", {"reduction": "sum"}, many_labels),
    "lsep": ("lsep", {}, many_labels),
    "distribution_balanced": ("distribution_balanced", {}, many_labels),
    "attribute_cross_entropy": (
        "attribute_cross_entropy",
        {"attributes": {"one": [0, 1, 2], "other": [3, 4, 5]}},
        many_labels,
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """For each case the logits and labels of both ranks, and what each found."""
    folder = tmp_path_factory.mktemp("ranks")
    parts = {}
    for name, (loss, options, sample) in CASES.items():
        logits, labels = sample(10, 6)
        if labels.ndim == 2:
            labels[:5][labels[:5] == 0] = -1  # the first rank knows fewer
        parts[name] = (
            loss,
            options,
            [logits[:5].clone(), logits[5:].clone()],
            [labels[:5].clone(), labels[5:].clone()],
        )
    torch.save(parts, folder / "cases.pt")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    commands = [[sys.executable, SCRIPT, str(rank), "2", folder] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return parts, [torch.load(folder / f"found{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_the_average_over_two_ranks_is_one_process(found, name):
    parts, ranks = found
    loss, options, logits, labels = parts[name]
    whole = torch.cat(logits).requires_grad_()
    together = torch.cat(labels)
    value = made_loss(loss, tail(6), together.ndim == 2, **options)(whole, together)
    value.backward()
    mean = sum(rank[name]["loss"] for rank in ranks) / 2
    grad = torch.cat([rank[name]["grad"] for rank in ranks]) / 2
    torch.testing.assert_close(mean, value.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, whole.grad, rtol=1e-10, atol=1e-12)

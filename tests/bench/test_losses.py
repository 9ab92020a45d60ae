"""The losses that are timed against one another are the same losses."""

from __future__ import annotations

import pytest
import torch
from fastlt.bench import losses
from fastlt.bench.memory import STATUS, peak_bytes

SUBJECTS = losses.subjects(shrink=16)
FIGURES = {"op", "setting", "shape", "dtype", "ms", "vs_eager", "vs_copy", "peak_bytes", "peak_bytes_eager"}


def value_and_gradients(subject, loss):
    for leaf in subject.leaves:
        leaf.grad = None
    value = loss()
    value.backward()
    return [value.detach().double(), *(leaf.grad.double() for leaf in subject.leaves)]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: f"{s.op}-{s.shape}-{s.leaves[0].dtype}")
def test_eager_forms_compute_what_the_operators_do(subject):
    ours = value_and_gradients(subject, subject.ours)
    tolerance = 0.05 if subject.leaves[0].dtype == torch.bfloat16 else 1e-4
    for name, form in {"eager": subject.eager, **subject.others}.items():
        for own, theirs in zip(ours, value_and_gradients(subject, form), strict=True):
            torch.testing.assert_close(
                own, theirs, rtol=tolerance, atol=tolerance / 100, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_in_bfloat16_the_operator_is_the_eager_form_of_float32_in_every_entry():
    torch.manual_seed(0)
    half = losses._asymmetric(16, 600, torch.bfloat16)
    torch.manual_seed(0)
    full = losses._asymmetric(16, 600)
    full.leaves[0].data.copy_(half.leaves[0])
    for own, exact in zip(value_and_gradients(half, half.ours), value_and_gradients(full, full.eager), strict=True):
        torch.testing.assert_close(own, exact, rtol=5e-3, atol=1e-5)


def test_a_case_has_every_figure():
    found = losses.measure(SUBJECTS[0], compiled=False)
    assert found.keys() >= FIGURES
    assert found["ms"] > 0 and len(found["samples_ms"]["ours"]) == losses.ROUNDS


@pytest.mark.skipif(not STATUS.exists(), reason="reads the resident set of Linux")
def test_memory_of_a_call_is_seen_and_only_that():
    megabytes = peak_bytes(lambda: torch.ones(4 << 20).sum()) / 2**20
    assert 16 <= megabytes < 24
    assert peak_bytes(lambda: None) < 2**20

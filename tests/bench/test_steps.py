"""The benches of the step and of whole training: every form of every subject, and which side is full."""

from __future__ import annotations

import statistics

import pytest
from fastlt.bench import raw, runs, step, step_forms, train
from fastlt.bench.runs import Subject

TINY = Subject("tiny", "cifar10_lt/hybrid_psc", (*runs.HYBRID.changes, "model.backbone=cifar_resnet20"), 4, 4)


@pytest.fixture(scope="module")
def stepped():
    with pytest.MonkeyPatch.context() as small:
        small.setattr(step, "SUBJECTS", ((TINY, 32, 10, 48),))
        small.setattr(step, "ROUNDS", 2)
        yield step.cases(None)


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as small:
        for name, value in {"ROUNDS": 2, "REST": 0.0, "LOADED": 2}.items():
            small.setattr(train, name, value)
        with raw.raw_set(count=48) as (records, arrays):
            yield train._measured(TINY, records, arrays, steps=1)


def test_every_difference_has_a_row(stepped):
    assert [case["form"] for case in stepped] == [*step_forms.FORMS, "ours fp32", "ours"]
    assert all(case["images_per_second"] > 0 and case["limit"] > 0 for case in stepped)


def test_ratios_are_of_the_samples(stepped):
    plain, ours = stepped[0]["samples"]["plain"], stepped[-1]["samples"]["ours"]
    ratio = statistics.median(own / other for own, other in zip(ours, plain, strict=True))
    assert stepped[-1]["vs_plain"] == pytest.approx(ratio, rel=0.01)


def test_it_says_where_the_time_goes(stepped):
    shares = [int(part.rpartition(" ")[2].rstrip("%")) for part in stepped[0]["where"].split(", ")]
    assert 95 <= sum(shares) <= 105 and "convolution" in stepped[0]["where"]


def test_the_summary_has_ratio_and_memory(stepped):
    told = step.summary(stepped)
    assert told["vs"]["tiny"]["plain"] == stepped[-1]["vs_plain"] and "tiny" in told["memory"]


def test_memory_is_that_of_the_step_alone(stepped):
    peaks = {case["form"]: case["peak_bytes"] for case in stepped if case["form"] in step_forms.WHOLE}
    weights = 4 * 270_000  # of ResNet-20: a step holds their gradients and some megabytes of feature maps
    assert all(weights < peak < 200 * weights for peak in peaks.values())


def test_the_limit_counts_every_product_of_the_network():
    """Of a convolution alone: its products and sums, forward, for its weights and for its input."""
    import torch

    layer = torch.nn.Conv2d(4, 8, 3, padding=1, bias=False)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    assert step._operations(lambda: layer(x).sum().backward()) == 3 * 2 * (2 * 6 * 6 * 8) * (4 * 9)


def test_the_two_sides_of_training_stand_beside_the_whole(trained):
    assert [case["form"] for case in trained] == ["fastlt", "compute_only", "loader_only", "plain"]
    sides = {case["form"]: case["images_per_second"] for case in trained}
    assert trained[0]["full"] == ("network" if sides["loader_only"] > sides["compute_only"] else "loader")
    assert train.summary(trained)["full"] == {"tiny": trained[0]["full"]}


def test_both_start_from_the_same_weights():
    with raw.raw_set(count=48) as (records, _), runs.trainer(TINY, records.folder.parent, "fp32") as ours:
        plain = runs.plain(ours)
        for own, other in zip(ours.method.parameters(), plain.method.parameters(), strict=True):
            assert own.equal(other) and own.data_ptr() != other.data_ptr()

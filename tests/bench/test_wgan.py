"""The bench of GANs: all contestants train, and what is said of them follows from the samples."""

import statistics

import pytest
from fastlt.bench import wgan as bench

from fastlt.wgan.settings import Settings

TINY = Settings(height=64, width=64, channels=1)


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as small:
        small.setattr(bench, "ON_CPU", ((TINY, 3),))
        small.setattr(bench, "ON_GPU", ((TINY, 3),))
        small.setattr(bench, "ROUNDS", 2)
        yield bench.cases(None)


def test_many_at_once_one_by_one_and_plain_layers(found):
    assert {case["form"]: case["at_once"] for case in found} == {"ours": 3, "one by one": 1, "plain": 1}


def test_the_gain_is_the_median_over_rounds_of_rates_of_a_single_image(found):
    samples = {case["form"]: case["samples"][case["form"]] for case in found}
    assert all(len(own) == 2 for own in samples.values())
    truth = statistics.median(a / b for a, b in zip(samples["ours"], samples["one by one"], strict=True))
    assert found[0]["vs_one_by_one"] == pytest.approx(truth, rel=2e-3)
    assert bench.summary(found) == {"vs": {"64x64, 1 channels": {"one by one": found[0]["vs_one_by_one"]}}}
    assert found[0]["held_bytes"] == 3 * 16 * TINY.weights

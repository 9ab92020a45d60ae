"""The learning rate at every step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastlt.config import ScheduleConfig
from fastlt.train import schedule

PER_EPOCH = 10.0


def factors(total_steps: int, **options) -> list[float]:
    config = ScheduleConfig(**options)
    return [schedule.factor(config, step, total_steps, PER_EPOCH) for step in range(total_steps)]


def torch_factors(make, total_steps: int) -> list[float]:
    """The rates that one of torch's schedulers sets, the base rate being 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant():
    assert factors(5, name="constant") == [1.0] * 5


@pytest.mark.parametrize("peak_at, total_steps", [(0.2, 100), (0.3, 77), (0.5, 10), (0.9, 1000)])
def test_one_cycle_is_torchs(peak_at, total_steps):
    expected = torch_factors(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps + 1, pct_start=peak_at),
        total_steps + 1,
    )
    config = ScheduleConfig(name="one_cycle", peak_at=peak_at)
    found = [schedule.factor(config, step, total_steps + 1, PER_EPOCH) for step in range(total_steps + 1)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_run_that_stops_early_sees_the_beginning_of_the_cycle_it_was_made_for():
    whole = factors(80, name="one_cycle")
    assert factors(60, name="one_cycle", length=8) == whole[:60]
    assert factors(90, name="one_cycle", length=8) == pytest.approx([*whole, *[whole[-1]] * 10])


@pytest.mark.parametrize("total_steps", [1, 2, 5])
def test_one_cycle_of_few_steps_has_a_rate_at_each(total_steps):
    assert all(0 < each <= 1 for each in factors(total_steps, name="one_cycle"))


def test_cosine_is_torchs():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.1), 50)
    assert factors(50, name="cosine", final=0.1) == pytest.approx(expected, rel=1e-9)


def test_step_is_torchs():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 35], gamma=0.01), 50)
    assert factors(50, name="step", milestones=(2, 3.5), gamma=0.01) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_warm_up_is_linear_and_ends_at_the_full_rate(name):
    found = factors(100, name=name, warmup=2, warmup_from=0.5, milestones=(5,))
    assert found[:21] == pytest.approx([0.5 + 0.5 * step / 20 for step in range(21)])


def test_warm_up_of_the_long_tail_recipe():
    """BBN's: lr (1/3 (1 - e/5) + e/5) in epoch e of the first five."""
    found = factors(200, name="step", warmup=5, warmup_from=1 / 3, milestones=(12, 16), gamma=0.01)
    assert found[10] == pytest.approx((1 - 1 / 5) / 3 + 1 / 5)
    assert [found[119], found[120], found[160]] == pytest.approx([1.0, 0.01, 0.0001])


def test_cosine_spans_what_the_warm_up_leaves():
    found = factors(100, name="cosine", warmup=2)
    assert found[60] == pytest.approx(0.5)
    assert found[99] == pytest.approx((1 + math.cos(math.pi * 79 / 80)) / 2)


@given(
    st.sampled_from(["constant", "step", "cosine", "one_cycle"]),
    st.integers(1, 500),
    st.floats(0, 60),
    st.data(),
)
def test_every_factor_is_a_share(name, total_steps, warmup, data):
    config = ScheduleConfig(name=name, warmup=0 if name == "one_cycle" else warmup, milestones=(1, 7))
    step = data.draw(st.integers(0, total_steps - 1))
    assert 0 <= schedule.factor(config, step, total_steps, PER_EPOCH) <= 1


def test_one_cycle_has_no_warmup_of_its_own():
    with pytest.raises(ValueError, match="leave warmup at 0"):
        ScheduleConfig(name="one_cycle", warmup=1)


def test_apply_sets_each_group_by_its_own_scale():
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr_scale": scale} for scale in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups, lr=123.0)
    schedule.apply(optimizer, 0.5, base_lr=0.2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])

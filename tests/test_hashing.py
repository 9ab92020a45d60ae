"""Counter-based randomness: pure, stable, even."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlt import hashing


def test_key_is_the_same_on_every_machine_and_version():
    assert hashing.key("streams", 0) == 5555281627935275059
    assert hashing.key("a", 1) != hashing.key("a", "1") != hashing.key("a1")


def test_bits_are_the_same_on_every_machine_and_version():
    found = hashing.bits(hashing.key("streams", 0), np.arange(2), lane=1)
    assert found.tolist() == [14110188896985892478, 6657990973711573410]


@given(key=st.integers(0, 2**64 - 1), size=st.integers(1, 5000))
def test_permute_is_a_bijection(key, size):
    assert sorted(hashing.permute(key, np.arange(size), size).tolist()) == list(range(size))


@given(key=st.integers(0, 2**64 - 1), sizes=st.lists(st.integers(1, 70), min_size=1, max_size=8))
def test_permute_takes_a_size_and_a_key_for_each_position(key, sizes):
    keys = hashing.bits(key, np.arange(len(sizes)))
    for place, (own_key, size) in enumerate(zip(keys, sizes, strict=True)):
        together = hashing.permute(keys, np.zeros(len(sizes), np.int64), np.array(sizes))
        assert together[place] == hashing.permute(own_key, 0, size)


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_of_a_tiny_set_is_about_equally_likely(size):
    orders = {}
    tries = 12_000
    for number in range(tries):
        order = tuple(hashing.shuffled(hashing.key("orders", number), size).tolist())
        orders[order] = orders.get(order, 0) + 1
    possible = {3: 6, 4: 24}[size]
    assert len(orders) == possible
    assert all(abs(count - tries / possible) < 6 * (tries / possible) ** 0.5 for count in orders.values())


def test_permute_keeps_no_array_of_the_size():
    assert 0 <= hashing.permute(7, 123_456_789_012, 10**12) < 10**12


@given(key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40), high=st.integers(1, 2**32 - 1))
def test_draws_stay_in_their_range_and_do_not_depend_on_the_batch(key, start, high):
    counter = np.arange(start, start + 16)
    numbers, shares = hashing.integers(key, counter, high), hashing.uniform(key, counter)
    assert ((numbers >= 0) & (numbers < high)).all() and ((shares >= 0) & (shares < 1)).all()
    assert numbers[5] == hashing.integers(key, counter[5], high) and shares[5] == hashing.uniform(key, counter[5])


def test_draws_are_even_and_lanes_and_counters_are_independent():
    counter = np.arange(100_000)
    first, second = (hashing.uniform(hashing.key("even"), counter, lane) for lane in (0, 1))
    for draws in (first, second):
        histogram = np.bincount((draws * 20).astype(int), minlength=20)
        chi_square = ((histogram - 5000) ** 2 / 5000).sum()
        assert chi_square < 50  # 19 degrees of freedom: p < 0.0002
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.015
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.015


def test_normal_draws_are_standard_normal_and_need_two_lanes():
    draws = np.sort(hashing.normal(7, np.arange(20_000), lane=4))
    expected = [NormalDist().inv_cdf((rank + 0.5) / 20_000) for rank in range(20_000)]
    np.testing.assert_allclose(draws[200:-200], expected[200:-200], atol=0.06)
    turned = np.cos(2 * np.pi * hashing.uniform(7, np.arange(20_000), 5))
    assert np.isfinite(draws).all() and (np.sign(hashing.normal(7, np.arange(20_000), 4)) == np.sign(turned)).all()

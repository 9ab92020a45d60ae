"""Streams of one tensor are joined without a copy, all others as `torch.cat` does it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastlt.batch import joined


def rows(count, seed=0):
    """Channels-last, as the loader makes them."""
    return torch.randn(count, 4, 5, 3, generator=torch.Generator().manual_seed(seed)).permute(0, 3, 1, 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_parts_that_follow_one_another_are_a_view(sizes):
    whole = rows(sum(sizes))
    together = joined(list(whole.split(sizes)))
    assert torch.equal(together, whole)
    assert together.stride() == whole.stride()
    if sum(sizes):
        assert together.data_ptr() == whole.data_ptr()


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: [x[4:], x[:4]],
        lambda x: [x[:3], x[4:]],
        lambda x: [x[:4], x[3:]],
        lambda x: [x[:4], x[4:].clone()],
        lambda x: [x[:4], x[4:].contiguous()],
        lambda x: [rows(3, 1), rows(2, 2)],
    ],
)
def test_others_are_copied(parts):
    whole = rows(8)
    apart = parts(whole)
    together = joined(apart)
    assert torch.equal(together, torch.cat(apart))
    assert together.untyped_storage().data_ptr() not in {part.untyped_storage().data_ptr() for part in apart}


def test_every_second_row_is_a_view_too():
    whole = rows(8)
    together = joined([whole[0:4:2], whole[4:8:2]])
    assert torch.equal(together, whole[::2]) and together.data_ptr() == whole.data_ptr()


def test_a_compiler_copies():
    step = torch.compile(lambda x: joined(list(x.split([2, 3]))) + 1, backend="eager", fullgraph=True)
    assert torch.equal(step(rows(5)), rows(5) + 1)


def test_gradients_reach_each_part():
    one, other = rows(2).clone().requires_grad_(), rows(3).clone().requires_grad_()
    joined([one, other]).square().sum().backward()
    assert torch.equal(one.grad, 2 * one) and torch.equal(other.grad, 2 * other)

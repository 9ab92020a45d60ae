"""Finding the library: once, late, and with one warning where the references serve instead."""

import subprocess
import sys
import warnings

import pytest
import torch

from fastlt import ops
from fastlt.ops import library, reference

X = torch.linspace(-2, 2, 8).view(2, 4)
TARGETS = torch.tensor([[1, 0, 0, -1], [0, 1, 0, 1]], dtype=torch.int8)


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not called a loss yet."""

    def forget():
        library._failure.cache_clear()
        library._warn.cache_clear()

    forget()
    monkeypatch.setattr(library, "_serving", {})
    yield monkeypatch
    monkeypatch.undo()
    forget()


@pytest.fixture
def absent(fresh, tmp_path):
    fresh.setattr(library, "LIBRARY", tmp_path / "_native.so")


def test_without_the_library_the_references_serve_and_one_warning_says_what_to_do(absent):
    x = X.clone().requires_grad_()
    with pytest.warns(
        UserWarning, match="plain PyTorch, slower.*reinstall fastlt where there is a C.. compiler"
    ) as all_:
        losses = [ops.lsep(x, TARGETS), ops.lsep(x, TARGETS), ops.sigmoid_loss(x, TARGETS, gamma_negative=2.0)]
    assert len(all_) == 1
    assert torch.equal(losses[0], reference.lsep(X, TARGETS))
    assert torch.equal(losses[2], reference.sigmoid_loss(X, TARGETS, gamma_negative=2.0))
    assert all(loss.requires_grad for loss in losses)


def test_without_the_library_nothing_is_promised(absent):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library.namespace() is None
        assert library.description().startswith("plain PyTorch, slower: there is no compiled library")


def test_a_library_that_does_not_load_is_explained(fresh, tmp_path):
    broken = tmp_path / "_native.so"
    broken.write_bytes(b"not a library")
    fresh.setattr(library, "LIBRARY", broken)
    with pytest.warns(UserWarning, match="_native.so does not load") as all_:
        loss = ops.lsep(X, TARGETS)
    assert torch.equal(loss, reference.lsep(X, TARGETS))
    assert len(all_) == 1
    assert "\n" not in str(all_[0].message)
    assert "does not load" in library.description()


@pytest.mark.parametrize("newest", [("lsep_of_tomorrow", "words"), ("lsep", "words")])
def test_a_library_of_an_older_fastlt_is_not_used(native, fresh, newest):
    fresh.setattr(library, "NEWEST", newest)
    with pytest.warns(UserWarning, match="compiled for an older fastlt, without words of .*lsep.*; reinstall"):
        assert torch.equal(ops.lsep(X, TARGETS), reference.lsep(X, TARGETS))
    assert library.namespace() is None


def test_tensors_on_a_device_without_kernels_are_served_by_the_references(native, fresh):
    fresh.setattr(library, "_holds_kernels", lambda key: key == "CPU")
    with pytest.warns(UserWarning, match="losses of cuda tensors run in plain PyTorch") as all_:
        assert library._kernels("cuda") is None
        assert library._kernels("cuda") is None
    assert len(all_) == 1


def test_other_devices_are_served_by_the_references_in_silence(fresh):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = ops.sigmoid_loss(X.to("meta"), TARGETS.to("meta"), reduction="row")
    assert loss.shape == (2,)


def test_the_library_says_what_it_holds(native):
    assert library.namespace() == "fastlt"
    assert library.description().startswith("compiled for the CPU (")


def test_instruction_sets_can_be_chosen_and_an_absent_one_is_not(native):
    select = torch.ops.fastlt.instruction_set
    best = select(-1)
    try:
        for wanted in range(3):
            assert select(wanted) == (wanted if wanted <= best else select(-1))
        assert select(0) == 0
        assert select(7) == 0
    finally:
        assert select(best) == best


def test_nothing_is_loaded_before_the_first_loss():
    program = """
import fastlt, fastlt.cli, sys
assert "fastlt.ops" not in sys.modules and "torch" not in sys.modules
import fastlt.ops, torch
assert not fastlt.ops.library._serving and not torch.ops.loaded_libraries
"""
    subprocess.run([sys.executable, "-c", program], check=True)

"""A checkpoint is whole or it is refused; a failed write leaves the one before."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from fastlt.errors import UserError
from fastlt.train import checkpoint

STATE = {
    "step": 7,
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "best": None,
    "bad_images": [3, 5],
    "config": {"seed": 1, "name": "erm", "rate": 0.1},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, STATE)
    return path


def test_what_is_saved_is_loaded_and_nothing_lies_beside_it(path):
    found = checkpoint.load(path)
    assert torch.equal(found["model"]["weight"], STATE["model"]["weight"])
    assert {**found, "model": None} == {**STATE, "model": None}
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_one(tmp_path):
    with pytest.raises(UserError, match="no checkpoint .*none.pt"):
        checkpoint.load(tmp_path / "none.pt")


@pytest.mark.parametrize("size", [0, 10, 500, -1])
def test_a_torn_one(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(path)


def test_one_changed_bit_among_the_numbers(tmp_path):
    weight = torch.full((1000,), 1.5)
    checkpoint.save(tmp_path / "last.pt", {"model": {"weight": weight}})
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[content.index(weight.numpy().tobytes()) + 2000] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match="damaged at .*data/0"):
        checkpoint.load(tmp_path / "last.pt")


def test_anothers_checkpoint(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(2)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="no fastlt checkpoint; .*model.init"):
        checkpoint.load(tmp_path / "other.pt")


def test_one_of_another_version(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_VERSION", 2)
    with pytest.raises(UserError, match="version 1, this fastlt reads 2"):
        checkpoint.load(path)


def test_one_with_code_in_it_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"format": "fastlt-checkpoint", "state": Trap()}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="Python objects, which are refused"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "sprung").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from fastlt.errors import UserError
from fastlt.train import checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(Path(sys.argv[1]), {"model": {"weight": torch.zeros(1_000_000)}})
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_kept(path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write {path}: File too large")
    assert done.stdout.count("\n") == 1
    assert checkpoint.load(path)["step"] == 7
    assert list(path.parent.iterdir()) == [path]


class TestOtherModels:
    def refusal(self, path, saved: nn.Module, own: nn.Module) -> str:
        with pytest.raises(UserError) as caught:
            checkpoint.check_matches(saved.state_dict(), own.state_dict(), path)
        return str(caught.value)

    def test_the_same_model_passes(self, path):
        checkpoint.check_matches(nn.Linear(2, 3).state_dict(), nn.Linear(2, 3).state_dict(), path)

    def test_the_first_tensor_of_another_shape_is_named(self, path):
        text = self.refusal(path, nn.Linear(2, 3), nn.Linear(2, 4))
        assert "weight is [3, 2] there and [4, 2] here" in text
        assert str(path) in text

    def test_a_missing_and_an_additional_tensor_are_named(self, path):
        with_bias, without = nn.Linear(2, 3), nn.Linear(2, 3, bias=False)
        assert "bias is missing there and [3] here" in self.refusal(path, without, with_bias)
        assert "bias is [3] there and missing here" in self.refusal(path, with_bias, without)

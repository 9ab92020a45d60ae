"""NVIDIA's apex is told from its namesake by files alone, and used through its own interface."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from fastlt.config import OptimizerConfig
from fastlt.errors import UserError
from fastlt.train import apex, optim

BOOBY_TRAP = "raise AssertionError('imported')"

# The constructors of apex.optimizers, and what they compute, by torch's plain optimisers.
STAND_IN = """
import torch

class FusedSGD(torch.optim.SGD):
    def __init__(self, params, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, wd_after_momentum=False):
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)

class FusedAdam(torch.optim.Adam):
    def __init__(self, params, lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-8, adam_w_mode=True,
                 weight_decay=0.0, amsgrad=False, set_grad_none=True, capturable=False, master_weights=False):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
                         decoupled_weight_decay=adam_w_mode)
"""


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """An empty folder that goes before all others on the module path; what a test imports from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("apex", "amp_C"):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    importlib.invalidate_caches()


def nvidia(folder: Path, package: str = BOOBY_TRAP, kernels: bool = True) -> None:
    """The files by which NVIDIA's apex is known; its kernels are a module of their own."""
    files = {
        "apex/__init__.py": package,
        "apex/multi_tensor_apply/__init__.py": BOOBY_TRAP,
        "apex/optimizers/__init__.py": STAND_IN,
        "apex/optimizers/fused_sgd.py": BOOBY_TRAP,
    }
    write(folder, files | ({"amp_C.py": BOOBY_TRAP} if kernels else {}))


def test_absent(site):
    found = apex.find()
    assert (found.status, found.location) == ("absent", None)
    assert "github.com/NVIDIA/apex" in found.advice


def test_the_pyramid_toolkit_of_the_same_name(site):
    write(site, {"apex/__init__.py": BOOBY_TRAP, "apex/views.py": BOOBY_TRAP})
    found = apex.find()
    assert (found.status, found.location) == ("other", site / "apex")
    assert "pip uninstall apex" in found.advice


def test_a_single_module_of_that_name_is_none(site):
    write(site, {"apex.py": BOOBY_TRAP})
    assert apex.find().status == "absent"


def test_nvidias_without_kernels(site):
    nvidia(site, kernels=False)
    found = apex.find()
    assert (found.status, found.location) == ("no kernels", site / "apex")
    assert "APEX_CUDA_EXT=1" in found.advice


def test_nvidias_with_kernels(site):
    nvidia(site)
    assert apex.find().status == "ready"


@pytest.mark.parametrize("kernels", [None, False])
def test_asking_for_an_apex_that_is_not_ready_is_refused_with_advice(site, kernels):
    if kernels is False:
        nvidia(site, kernels=False)
    config = OptimizerConfig(apex=True)
    with pytest.raises(UserError, match="optimizer.apex=false"):
        optim.build([{"name": "all", "params": [torch.nn.Parameter(torch.ones(1))]}], config, torch.device("cpu"))


def test_a_cpu_is_refused(site):
    nvidia(site, package="")
    with pytest.raises(UserError, match="NVIDIA GPU"):
        apex.optimizer([{"params": [torch.nn.Parameter(torch.ones(1))]}], OptimizerConfig(apex=True))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_adapter_gives_what_torchs_own_optimiser_gives(site, monkeypatch, name):
    nvidia(site, package="")
    monkeypatch.setattr(apex, "_check_device", lambda groups: None)  # the stand-in computes on the CPU
    options = {"name": name, "lr": 0.1, "momentum": 0.8, "nesterov": True, "betas": (0.8, 0.9), "weight_decay": 0.05}
    results = []
    for use_apex in (True, False):
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        config = OptimizerConfig(**options, apex=use_apex)
        groups = optim.parameter_groups([{"name": "all", "params": [weight]}], config)
        optimizer = optim.build(groups, config, torch.device("cpu"))
        assert type(optimizer).__name__.startswith("Fused") == use_apex
        for step in range(3):
            weight.grad = weight.detach() * (step + 1)
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=0)

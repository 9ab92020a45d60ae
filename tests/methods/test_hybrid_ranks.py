"""The contrastive terms see the global batch: two ranks have the losses and the gradients of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastlt.distributed import gather_rows
from tests.methods.hybrid_made import HALFWAY, batch_of, made

SCRIPT = Path(__file__).with_name("hybrid_ranks.py")
ROOT = SCRIPT.parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks found, with batch norm over both and gradients averaged by DistributedDataParallel."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    commands = [[sys.executable, SCRIPT, str(rank), "2", folder] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    return [torch.load(folder / f"found{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", ["hybrid_sc", "hybrid_psc"])
def test_two_ranks_are_one_process(ranks, name):
    method = made(name)
    terms = method(batch_of(name), HALFWAY)
    sum(terms.values()).backward()
    for term, value in terms.items():
        mean = (ranks[0][name]["terms"][term] + ranks[1][name]["terms"][term]) / 2
        torch.testing.assert_close(mean, value.detach(), rtol=1e-10, atol=1e-12)
    for key, parameter in method.named_parameters():
        for rank in ranks:
            torch.testing.assert_close(rank[name]["gradients"][key], parameter.grad, rtol=1e-9, atol=1e-12)


def test_the_parts_alone_would_give_another_contrast(ranks):
    """So that the test above can fail: a mean over each rank's own rows is no mean over all."""
    method, batch = made("hybrid_sc").eval(), batch_of("hybrid_sc")
    whole = method(batch, HALFWAY)["contrastive"]
    parts = [method(part, HALFWAY)["contrastive"] for part in batch.parts(2)]
    assert abs(sum(parts) / 2 - whole) > 0.1


def test_gathered_rows_stand_in_the_order_of_ranks_and_bring_back_the_sum_of_all_gradients(ranks):
    first, second = (rank["gather_rows"] for rank in ranks)
    expected = torch.cat([torch.arange(6.0).reshape(2, 3).T + 10 * rank for rank in range(2)])
    for found in (first, second):
        assert torch.equal(found["out"], expected)
        assert found["labels"].tolist() == [0, 7, 1, 7]
    asked = (1 + 2) * torch.arange(6.0)[:, None].expand(6, 2)
    assert torch.equal(torch.cat([first["grad"], second["grad"]]), asked)


def test_alone_rows_are_their_own():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows

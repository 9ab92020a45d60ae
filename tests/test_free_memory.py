"""How much memory a process may count on."""

import pytest
import torch

from fastlt import free_memory

CPU = torch.device("cpu")


@pytest.fixture
def kibibytes_free(tmp_path, monkeypatch):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  9000 kB\nMemAvailable:  4096 kB\n")
    monkeypatch.setattr(free_memory, "_ROOM", file)


def test_it_is_what_the_system_can_give_without_swapping(kibibytes_free):
    assert free_memory.free_memory(CPU) == 4096 * 1024


def test_ranks_of_a_machine_share_it(kibibytes_free, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory.free_memory(CPU) == 1024 * 1024


def test_it_is_not_known_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(free_memory, "_ROOM", tmp_path / "none")
    assert free_memory.free_memory(CPU) is None

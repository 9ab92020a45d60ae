"""The patches fit the kernels as they are, and the table of what killed them is complete."""

import re
import shutil

import library
import mutants
import pytest

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="patches are applied with git")

SORTS = {"barrier", "tail", "mask", "unwritten output", "index overflow", "atomics", "cross-block race"}


def kernels() -> set[str]:
    """Every kernel in the CUDA sources."""
    texts = "".join(path.read_text() for path in (library.CSRC / "cuda").glob("*.cuh"))
    return set(re.findall(r"^SIMT_KERNEL\([^)]*\)\s+(\w+)\(", texts, re.MULTILINE))


def test_every_kernel_has_two_mutants_and_every_sort_one():
    of_kernel = [mutant.said("kernel") for mutant in mutants.mutants()]
    assert kernels()
    assert {kernel: of_kernel.count(kernel) for kernel in kernels() if of_kernel.count(kernel) < 2} == {}
    assert {mutant.said("sort") for mutant in mutants.mutants()} >= SORTS


def test_the_table_lists_every_mutant_as_killed():
    table = mutants.read_table()
    assert list(table) == [mutant.name for mutant in mutants.mutants()]
    assert [name for name, killed in table.items() if not any(killed)] == []


@pytest.mark.slow
@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_patches_apply(mutant, tmp_path):
    mutants.copy_of_the_text(tmp_path)
    mutants.apply(mutant, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(library.compiler() is None, reason="the simulator needs g++")
@pytest.mark.parametrize("name", ["block_reduce-barrier", "sum_rows-atomics", "anchor_rows-cross_block"])
def test_some_mutants_die_as_the_table_says(name):
    mutant = mutants.try_mutant(mutants.Mutant(mutants.FOLDER / f"{name}.patch"))
    assert list(mutant.killed.values()) == mutants.read_table()[name]

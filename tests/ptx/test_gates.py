"""The machine code in the built library keeps to gates.py."""

from functools import lru_cache

import gates
import pytest
import toolkit


@lru_cache
def kernels() -> list[gates.Compiled]:
    try:
        return gates.compiled(toolkit.LIBRARY)
    except toolkit.Missing as error:
        pytest.skip(str(error))


def test_every_kernel_keeps_to_the_gates():
    assert gates.faults(kernels()) == []


def test_every_kernel_is_there_for_every_architecture():
    of_arch: dict[str, set] = {}
    for kernel in kernels():
        of_arch.setdefault(kernel.machine.arch, set()).add(kernel.name)
    assert len(set(map(frozenset, of_arch.values()))) == 1
    assert set(gates.BYTES) <= {kernel.name.family for kernel in kernels()}


def test_ceilings_name_the_kernels_that_there_are():
    assert set(gates.ceilings()) == {str(kernel.name) for kernel in kernels()}


def test_the_table_is_of_these_kernels():
    """Registers and occupancy are this compiler's; only the names must agree."""
    table = (toolkit.REPOSITORY / "docs" / "cuda-kernels.md").read_text()
    assert [name for name in gates.ceilings() if f"`{name}`" not in table] == []


FAULTS = {
    "registers spill": {"stack": 16},
    "double precision": {"opcodes": {"DADD": 1}},
    "atomics": {"opcodes": {"REDG.E.ADD": 1}},
    "load 128 bits": {"opcodes": {"LDG.E": 4, "STG.E.128": 1}},
    "store 128 bits": {"opcodes": {"LDG.E.128": 4, "STG.E": 1}},
    "registers, the ceiling is 32": {"registers": 40},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_would_be_noticed(fault):
    machine = toolkit.Machine("sm_90", "mangled", registers=32)
    machine.opcodes.update({"LDG.E.128": 1, "STG.E.128": 1, "FFMA": 9})
    name = gates.Name("sigmoid_gradients", ("fp32", "4", "0", "1"))
    assert gates.Compiled(name, machine).faults(32) == []
    for key, value in FAULTS[fault].items():
        if key == "opcodes":
            machine.opcodes.clear()
            machine.opcodes.update({"LDG.E.128": 1, "STG.E.128": 1} if len(value) == 1 else {}, **value)
        else:
            setattr(machine, key, value)
    (found,) = gates.Compiled(name, machine).faults(32)
    assert fault in found

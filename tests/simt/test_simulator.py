"""The simulator finds planted faults and leaves sound kernels alone; the kernels' own programs pass in every mode."""

import library
import pytest
import sanitized

pytestmark = pytest.mark.skipif(library.compiler() is None, reason="the simulator needs g++")

SOUND = ("opposite", "warp_exchange", "two_masks", "votes", "count_by_atomics")
# Which builds must find a fault, and a part of what each then says.
RACE, ADDRESS = "ThreadSanitizer: data race", "AddressSanitizer: heap-buffer-overflow"
FAULTS = {
    "missing_barrier": {"plain": "value[", "thread": RACE},
    "overwritten_too_soon": {"plain": "value[", "thread": RACE},
    "global_overrun": {"plain": "beyond its ends", "address": ADDRESS},
    "shared_overrun": {"address": ADDRESS},
    "unwritten_shared": {"plain": "value[7] is", "address": "value[7] is", "thread": "value[7] is"},
    "absent_lanes": {"plain": "deadlock: a lane waits for lanes of its mask that never come"},
    "read_beyond_mask": {"plain": "a shuffle reads a lane outside its mask"},
    "not_in_own_mask": {"plain": "a lane is not in its own mask"},
    "two_barriers": {"plain": "divergent barriers"},
    "early_return": {"plain": "some threads have ended, others wait at a barrier"},
    "shuffle_orders_nothing": {"thread": RACE},
    "cross_block": {"thread": RACE},
    "index_overflow": {"address": "signed integer overflow"},
}


@pytest.mark.parametrize("mode", sanitized.MODES)
@pytest.mark.parametrize("name", SOUND)
def test_sound_kernels_pass(name, mode):
    outcome = sanitized.run(sanitized.program("planted", mode), name)
    assert outcome.code == 0, outcome.output


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in FAULTS.items() for mode in modes])
def test_planted_faults_are_found(name, mode):
    outcome = sanitized.run(sanitized.program("planted", mode), name)
    assert outcome.code not in (0, 2), outcome.output
    assert FAULTS[name][mode] in outcome.output


@pytest.mark.parametrize("name", ["cross_block", "shuffle_orders_nothing"])
def test_schedules_alone_do_not_show_every_race(name):
    """So the thread sanitizer is needed: these two give the right values under every schedule."""
    assert sanitized.run(sanitized.program("planted", "plain"), name, 20).code == 0


def test_the_line_of_a_fault_is_named():
    outcome = sanitized.run(sanitized.program("planted", "plain"), "early_return")
    assert "planted.cpp:" in outcome.output


@pytest.mark.parametrize("name", sanitized.KERNEL_PROGRAMS)
@pytest.mark.parametrize(("mode", "seeds"), [("plain", 4), ("address", 1), ("thread", 1)])
def test_kernels(name, mode, seeds):
    """Every kernel against double, several shapes and schedules: right values, the same bits, no report."""
    outcome = sanitized.run(sanitized.program(name, mode), seeds)
    assert outcome.code == 0, outcome.output[-6000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", sanitized.KERNEL_PROGRAMS)
@pytest.mark.parametrize(("mode", "seeds"), [("plain", 40), ("address", 6), ("thread", 4)])
def test_kernels_with_more_schedules(name, mode, seeds):
    outcome = sanitized.run(sanitized.program(name, mode), seeds)
    assert outcome.code == 0, outcome.output[-6000:]

"""Instructions that several lanes execute together: barriers of a block, shuffles and votes of a warp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import PtxError
from .parse import Group, Instruction, Operand

if TYPE_CHECKING:
    from .execute import Lanes

NAMES = {"bar", "barrier", "shfl", "vote", "redux"}


def meet(all_lanes: Lanes, ins: Instruction, arrived: np.ndarray) -> None:
    """Some more lanes wait at `ins`; lets those go on that are complete."""
    if ins.name in ("bar", "barrier") and "warp" not in ins.modifiers:
        release_barriers(all_lanes)
    else:
        place = int(all_lanes.at[arrived[0]])
        for warp in np.unique(all_lanes.warp[arrived]):
            _meet_in_warp(all_lanes, ins, int(warp), place)


def release_barriers(lanes: Lanes) -> None:
    """Of each block whose remaining lanes all wait at one barrier."""
    end = len(lanes.kernel.code)
    for block in np.unique(lanes.block[lanes.waiting]):
        alive = np.flatnonzero((lanes.block == block) & (lanes.at < end))
        if not lanes.waiting[alive].all():
            continue
        places = np.unique(lanes.at[alive])
        met = [lanes.kernel.code[place] for place in places]
        if not all(ins.name in ("bar", "barrier") and "warp" not in ins.modifiers for ins in met):
            continue
        ins = met[0]
        if len(met) > 1:
            raise PtxError(f"divergent barrier: lanes of block {block} wait in different places, as at {ins.text}")
        if "red" in ins.modifiers:
            _reduce_over_block(lanes, ins, alive)
        lanes.epoch[block] += 1
        _go_on(lanes, alive)


def masks(lanes: Lanes, here: np.ndarray) -> np.ndarray:
    """uint32 for each of these lanes: who of its warp is among them."""
    words = np.zeros(lanes.warp.max() + 1, np.uint32)
    np.bitwise_or.at(words, lanes.warp[here], np.uint32(1) << (here % 32).astype(np.uint32))
    return words[lanes.warp[here]]


def _go_on(lanes: Lanes, released: np.ndarray) -> None:
    lanes.waiting[released] = False
    lanes.at[released] += 1


def _reduce_over_block(lanes: Lanes, ins: Instruction, alive: np.ndarray) -> None:
    """__syncthreads_and, _or, _count: the predicate is the last operand."""
    held = lanes.value(ins.operands[-1], "pred")[alive]
    result = np.uint32(held.sum()) if "popc" in ins.modifiers else held.all() if "and" in ins.modifiers else held.any()
    lanes.assign(ins.operands[0], np.full(len(alive), result), alive)


def _meet_in_warp(lanes: Lanes, ins: Instruction, warp: int, place: int) -> None:
    """Lets groups go on of which every lane that the mask names has come."""
    present = warp * 32 + np.flatnonzero((lanes.waiting & (lanes.at == place))[warp * 32 : warp * 32 + 32])
    named = lanes.value(ins.operands[-1], "u32")[present]
    here = masks(lanes, present)[0]
    for mask in np.unique(named):
        group = present[named == mask]
        if not all(int(mask) >> int(lane % 32) & 1 for lane in group):
            raise PtxError(f"a lane outside the mask {int(mask):#x}: {ins.text}")
        if mask & ~here:
            continue  # some are still to come
        if ins.name == "shfl":
            _shuffle(lanes, ins, group)
        elif ins.name == "vote":
            _vote(lanes, ins, group)
        elif ins.name == "redux":
            values = lanes.value(ins.operands[1], ins.type)[group]
            reduce = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or}
            result = reduce[ins.modifiers[-1]].reduce(values).astype(values.dtype)
            lanes.assign(ins.operands[0], np.full(len(group), result), group)
        _go_on(lanes, group)


def _shuffle(lanes: Lanes, ins: Instruction, group: np.ndarray) -> None:
    target, source, other, clamp, _ = ins.operands
    values = lanes.value(source, "u32")
    lane = group % 32
    other, clamp = (lanes.value(operand, "u32")[group].astype(np.int64) for operand in (other, clamp))
    segment = clamp >> 8 & 31
    lowest = lane & segment
    highest = lowest | (clamp & 31 & ~segment)
    mode = ins.modifiers[-1]
    wanted = {
        "bfly": lane ^ other,
        "down": lane + other,
        "up": lane - other,
        "idx": lowest | (other & ~segment),
    }[mode]
    inside = wanted >= (clamp & 31) if mode == "up" else wanted <= highest
    source_lane = group - lane + np.where(inside, wanted, lane)
    if not np.isin(source_lane, group).all():
        raise PtxError(f"a shuffle reads a lane that does not take part: {ins.text}")
    result, valid = target.items if isinstance(target, Group) else (target, None)
    lanes.assign(result, values[source_lane], group)
    if valid is not None:
        lanes.assign(valid, inside, group)


def _vote(lanes: Lanes, ins: Instruction, group: np.ndarray) -> None:
    target: Operand = ins.operands[0]
    held = lanes.value(ins.operands[1], "pred")[group]
    if "ballot" in ins.modifiers:
        word = np.bitwise_or.reduce(held.astype(np.uint32) << (group % 32).astype(np.uint32))
        return lanes.assign(target, np.full(len(group), word, np.uint32), group)
    outcome = held.all() if "all" in ins.modifiers else held.any()
    lanes.assign(target, np.full(len(group), outcome), group)

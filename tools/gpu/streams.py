"""Kernels run on the caller's stream and on the tensors' GPU, whichever is current."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from .cases import assert_equal, inputs_on, loss_cases, outcome, overwrite
from .part import Part, main

LATE = 100_000_000  # cycles for which the stream is kept busy: anything that does not wait for it comes too early


def run(part: Part) -> None:
    part.require_kernels()
    gpus = torch.cuda.device_count() if part.on_gpu else 0
    part.details["GPUs"] = gpus
    for case in loss_cases(part):
        part.attempt(f"{case.name} on another stream", lambda case=case: _on_another_stream(part, case))
        for index in range(1, gpus):
            part.attempt(f"{case.name} on GPU {index}", lambda case=case, index=index: _on_gpu(part, case, index))


def _on_another_stream(part: Part, case) -> None:
    """The inputs get their values late, on that stream: a kernel on another one would see the old ones."""
    inputs, late = inputs_on(part, case, torch.float32, 1), inputs_on(part, case, torch.float32, 2)
    wanted = outcome(case, inputs_on(part, case, torch.float32, 2))
    if part.on_gpu:
        torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()) if part.on_gpu else nullcontext():
        if part.on_gpu:
            torch.cuda._sleep(LATE)
        overwrite(inputs, late)
        found = outcome(case, inputs)
        if part.on_gpu:
            torch.cuda.current_stream().synchronize()
    assert_equal(found, wanted)


def _on_gpu(part: Part, case, index: int) -> None:
    """While GPU 0 is the current one, and still is afterwards."""
    wanted = outcome(case, inputs_on(part, case, torch.float32, 1))
    found = outcome(case, inputs_on(part, case, torch.float32, 1, f"cuda:{index}"))
    if torch.cuda.current_device() != 0:
        raise AssertionError("the current GPU has changed")
    if {x.device.index for x in found.values()} != {index}:
        raise AssertionError("a result is on another GPU")
    same = torch.cuda.get_device_capability(index) == torch.cuda.get_device_capability(0)
    if same:  # another architecture has other machine code
        assert_equal({name: x.to("cuda:0") for name, x in found.items()}, wanted)


if __name__ == "__main__":
    main(run)

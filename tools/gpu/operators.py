"""tests/ops with their kernels on CUDA: FASTLT_TEST_DEVICE=cuda adds that backend."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

from .cases import TESTS
from .part import REPOSITORY, Part, Skip, main

QUICK = "test_ranking.py"


def run(part: Part) -> None:
    if not TESTS.is_dir():
        raise Skip("needs tests/ops: run it from a checkout")
    part.require_kernels()
    report = part.folder / "junit.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        str(TESTS / QUICK if part.quick else TESTS),
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--junitxml={report}", *(["-k", "cuda"] if part.on_gpu else [])]
    environment = os.environ | ({"FASTLT_TEST_DEVICE": "cuda"} if part.on_gpu else {})
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment)
    tests = ElementTree.parse(report).getroot().findall(".//testcase")
    skipped = [test for test in tests if test.find("skipped") is not None]
    failed = [test for test in tests if test.find("failure") is not None or test.find("error") is not None]
    part.details |= {"tests": len(tests), "skipped": len(skipped), "failed": len(failed)}
    part.failures += [f"{test.get('classname')}.{test.get('name')}" for test in failed]
    if len(tests) == len(skipped):
        part.failures.append(f"no test ran on {part.device}")
    elif ended.returncode and not failed:
        part.failures.append(f"pytest ended with status {ended.returncode}")


if __name__ == "__main__":
    main(run)

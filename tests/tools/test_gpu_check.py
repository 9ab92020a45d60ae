"""tools/gpu_check.py, as far as it can be tried without a GPU: its own code, on the CPU and on tiny inputs."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).parents[2] / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("gpu_check", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def dry_run(tool, out, *parts):
    status = tool.main(["--out", str(out), "--dry-run-cpu", "--quick", "--parts", *parts])
    return status, json.loads((out / "gpu-check.json").read_text()), (out / "gpu-check.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tool, tmp_path, capsys):
    assert tool.main(["--out", str(tmp_path / "check")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert "no NVIDIA GPU" in said[0]
    assert not (tmp_path / "check").exists()


def test_a_part_writes_what_it_found(tool, tmp_path):
    status, found, page = dry_run(tool, tmp_path, "streams")
    (part,) = found["parts"]
    assert (status, part["status"], part["failures"]) == (0, "passed", [])
    assert found["machine"]["device"] == "cpu"
    assert "| streams |" in page
    assert "dry run" in page


@pytest.mark.slow
@pytest.mark.parametrize("part", ["graphs", "sanitizer", "pipelines", "training", "benchmarks", "operators"])
def test_every_part_runs(tool, tmp_path, part):
    status, found, _ = dry_run(tool, tmp_path, part)
    assert status == 0, found["parts"]


def test_a_part_that_dies_is_reported_and_leaves_the_others(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "PARTS", {"killed": ("nothing", 60), "hung": ("nothing", 60)})
    ends = iter(["killed by signal 11", "no end after 60 s"])
    monkeypatch.setattr(tool, "_ended", lambda command, log, limit: (log.write("last words\n"), next(ends))[1])
    status, found, page = dry_run(tool, tmp_path, "killed", "hung")
    assert status == 1
    assert [part["reason"] for part in found["parts"]] == [
        "killed by signal 11: last words",
        "no end after 60 s: last words",
    ]
    assert page.count("| failed") == 2


def test_nothing_but_skipped_parts_is_no_success(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "PARTS", {"absent": ("nothing", 60)})
    skipped = {"status": "skipped", "reason": "not here", "failures": [], "details": {}}

    def ended(command, log, limit):
        Path(command[command.index("--result") + 1]).write_text(json.dumps(skipped))
        return ""

    monkeypatch.setattr(tool, "_ended", ended)
    status, found, _ = dry_run(tool, tmp_path, "absent")
    assert (status, found["parts"][0]["reason"]) == (1, "not here")


def test_how_a_process_ended(tool, tmp_path):
    with (tmp_path / "log").open("w") as log:
        run = lambda code, limit=20: tool._ended([sys.executable, "-c", code], log, limit)  # noqa: E731
        assert run("pass") == ""
        assert run("raise SystemExit(3)") == "exit status 3"
        assert run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") == "killed by signal 11"
        assert run("import time; time.sleep(30)", 0.5) == "no end after 0.5 s"
        assert run("import os; raise SystemExit(os.environ['HF_HUB_OFFLINE'] != '1')") == ""


def test_failed_checks_of_a_part(tool, tmp_path):
    from gpu.part import Part

    part = Part("cpu", True, tmp_path)
    part.attempt("fine", lambda: None)
    part.attempt("wrong", lambda: [][1])
    assert part.failures == ["wrong: IndexError: list index out of range"]

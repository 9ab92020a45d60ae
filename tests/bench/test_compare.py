"""Two runs side by side: slower beyond the noise is told, and nothing else."""

from __future__ import annotations

import copy
import json

import pytest
from click.testing import CliRunner
from fastlt.bench.compare import changes, verdict
from hypothesis import given
from hypothesis import strategies as st

from fastlt.cli import commands, main

RUN = {
    "subject": "all",
    "machine": {"processor": "p"},
    "subjects": {
        "loader": {
            "cases": [
                {"name": "fastlt", "setting": "s", "samples": {"fastlt": [100.0, 101.0, 99.0, 100.5, 98.0]}},
                {"name": "pillow", "setting": "s", "samples": {"pillow": [20.0, 21.0, 19.0, 20.0, 20.0]}},
                {"name": "ffcv", "setting": "s", "absent": "not installed"},
            ]
        },
        "losses": {"cases": [{"op": "lsep", "shape": [2, 3], "samples_ms": {"ours": [1.0, 1.1, 0.9, 1.0, 1.0]}}]},
    },
}


def scaled(subject, place, factor):
    run = copy.deepcopy(RUN)
    case = run["subjects"][subject]["cases"][place]
    for samples in (case.get("samples"), case.get("samples_ms")):
        for name in samples or {}:
            samples[name] = [factor * value for value in samples[name]]
    return run


def verdicts(after):
    return {change.figure: change.verdict for change in changes(RUN, after)}


def test_equal_runs_have_no_verdict():
    assert set(verdicts(RUN).values()) == {""}


def test_a_lower_rate_and_a_longer_time_are_slower():
    assert verdicts(scaled("loader", 0, 0.8))["loader fastlt s fastlt"] == "slower"
    assert verdicts(scaled("losses", 0, 1.5))["losses lsep 2 x 3 ours"] == "slower"
    assert verdicts(scaled("losses", 0, 0.5))["losses lsep 2 x 3 ours"] == "faster"


def test_within_the_noise_is_no_change():
    assert set(verdicts(scaled("loader", 0, 0.985)).values()) == {""}


def test_one_outlier_neither_hides_nor_makes_a_change():
    assert verdict([100, 101, 99, 100, 98, 102, 5], [80, 81, 79, 80, 80, 82, 78]) == "slower"
    assert verdict([100, 101, 99, 100, 98, 102, 97], [100, 101, 99, 100, 98, 102, 5]) == ""


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=9), st.lists(st.floats(1, 1e6), min_size=1, max_size=9))
def test_what_is_slower_one_way_is_faster_the_other(old, new):
    assert {verdict(old, new), verdict(new, old)} in ({""}, {"slower", "faster"})


@pytest.fixture
def files(tmp_path):
    def write(name, run):
        (tmp_path / name).write_text(json.dumps(run))
        return str(tmp_path / name)

    return write


def test_the_command_fails_where_something_of_ours_got_slower(files, capsys):
    old, new = files("old", RUN), files("new", scaled("loader", 0, 0.5))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--compare", old, new])
    shown = capsys.readouterr()
    assert ended.value.code == 1 and "loader fastlt s fastlt" in shown.err
    assert "0.500" in shown.out


def test_a_slower_peer_is_the_machine_and_no_failure(files):
    found = CliRunner().invoke(
        commands, ["bench", "--compare", files("old", RUN), files("new", scaled("loader", 1, 0.5))]
    )
    assert found.exit_code == 0 and "the machine itself" in found.output


def test_a_file_that_is_no_bench_is_refused_by_name(files, capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--compare", files("old", RUN), files("other", {"a": 1})])
    assert "other is not what" in capsys.readouterr().err


def test_a_subject_is_needed():
    found = CliRunner().invoke(commands, ["bench"])
    assert found.exit_code == 2 and "loader" in found.output

"""The file of a class prior: read back as it was written, and refused where it is something else."""

import json

import pytest

from fastlt import class_prior
from fastlt.class_prior import ClassPrior
from fastlt.errors import UserError


def made(**changes):
    values = {
        "classes": ["cat", "dog", "cat"],
        "prior": [0.5, 0.25, 0.125],
        "images": 9,
        "dataset": "made",
        "mode": "ignore",
        "checkpoint": "best.pt",
        "checkpoint_sha256": "0",
    }
    return ClassPrior(**values | changes)


def test_what_is_written_is_read_by_the_run_or_by_the_file(tmp_path):
    made().write(tmp_path)
    assert class_prior.read(tmp_path) == class_prior.read(tmp_path / "prior.json") == made()


def test_classes_are_matched_by_their_place_for_names_may_repeat():
    assert made().of_classes(["cat", "dog", "cat"]) == [0.5, 0.25, 0.125]
    for classes in (["cat", "cat", "dog"], ["cat", "dog"], ["cat", "dog", "cat", "cat"]):
        with pytest.raises(UserError, match="estimate it on this one"):
            made().of_classes(classes)


def test_a_run_without_a_prior_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match=r"no class prior .*prior\.json; .*fastlt prior"):
        class_prior.read(tmp_path)


def test_the_estimate_of_a_model_that_took_unknown_for_negative_is_refused(tmp_path):
    made(mode="negative").write(tmp_path)
    with pytest.raises(UserError, match="took unknown labels for negatives.*mode ignore"):
        class_prior.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"prior": [0.5, 0.25]},
        {"prior": [0.5, 0.25, 1.5]},
        {"prior": [0.5, 0.25, float("nan")]},
        {"prior": [0.5, 0.25, "0.1"]},
        {"classes": [], "prior": []},
        {"classes": ["a", 1, "b"]},
        {"format": "other"},
        {"more": 1},
    ],
)
def test_what_is_no_prior_is_refused(tmp_path, changes):
    made().write(tmp_path)
    file = tmp_path / "prior.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=r"prior\.json was not written by `fastlt prior`, or is damaged"):
        class_prior.read(file)


@pytest.mark.parametrize("text", ["", "[]", "{", '"prior"', "{}"])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "prior.json").write_text(text)
    with pytest.raises(UserError, match="estimate it again"):
        class_prior.read(tmp_path)

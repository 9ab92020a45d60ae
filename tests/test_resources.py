"""Recipes by name and by file."""

from __future__ import annotations

import pytest

from fastlt import resources
from fastlt.errors import UserError


def test_a_recipe_is_found_with_and_without_its_suffix():
    assert resources.recipe("cifar10_lt/erm") == resources.recipe("cifar10_lt/erm.yaml")


def test_every_listed_recipe_can_be_read():
    names = resources.list_recipes()
    assert names == sorted(names)
    assert all(resources.recipe(name).strip() for name in names)


def test_a_file_comes_before_a_recipe_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10_lt").mkdir()
    (tmp_path / "cifar10_lt/erm").write_text("seed: 7\n")
    assert resources.recipe("cifar10_lt/erm") == "seed: 7\n"


def test_an_unknown_recipe_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"no recipe cifar10_lt/emr: .*did you mean cifar10_lt/erm\?"):
        resources.recipe("cifar10_lt/emr")


def test_where_nothing_is_near_all_are_listed():
    with pytest.raises(UserError, match="there are: .*cifar10_lt/erm"):
        resources.recipe("zzzzzz")


def test_nothing_outside_the_recipes_is_read():
    with pytest.raises(UserError, match="no recipe"):
        resources.recipe("../configs/cifar10_lt/erm")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="recipe.yaml cannot be read: it is not UTF-8 text"):
        resources.recipe(str(file))

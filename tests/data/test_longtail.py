"""Class sizes as published for the long-tailed CIFAR sets, and which images stay."""

import numpy as np
import pytest
from made_sources import counted
from rich.console import Console

from fastlt.commands.data import build_data_set
from fastlt.data.build import build
from fastlt.data.labels import LabelRows
from fastlt.data.longtail import Recipe, group_limits, group_of
from fastlt.data.longtail import choose as choose_by
from fastlt.data.single_label_tail import class_sizes as sizes_of
from fastlt.errors import UserError


def class_sizes(recipe, available):
    return sizes_of(recipe.name, recipe.imbalance, recipe.largest, available)


def choose(recipe, labels, dataset, seed):
    ids = [f"folder/{row}.png" for row in range(len(labels))]
    return choose_by(recipe, labels, False, dataset, seed, lambda: ids)


def balanced(classes, size):
    return LabelRows.from_lists([[(c, 1)] for c in range(classes) for _ in range(size)], classes)


def test_cifar10_lt_has_the_published_size_of_every_class():
    sizes = class_sizes(Recipe("exponential", 100), np.full(10, 5000))
    assert sizes.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sizes.sum() == 12406


@pytest.mark.parametrize(
    ("classes", "largest", "imbalance", "total"),
    [
        (10, 5000, 10, 20431), (10, 5000, 50, 13996), (10, 5000, 100, 12406), (10, 5000, 200, 11203),
        (100, 500, 10, 19573), (100, 500, 50, 12608), (100, 500, 100, 10847), (100, 500, 200, 9502),
    ],
)  # fmt: skip
def test_published_totals(classes, largest, imbalance, total):
    assert class_sizes(Recipe("exponential", imbalance), np.full(classes, largest)).sum() == total


@pytest.mark.parametrize(("imbalance", "groups"), [(10, (69, 31, 0)), (50, (41, 41, 18)), (100, (35, 35, 30))])
def test_published_groups_of_cifar100_lt(imbalance, groups):
    sizes = class_sizes(Recipe("exponential", imbalance), np.full(100, 500))
    found = group_of(sizes, group_limits(multi_label=False))
    assert tuple(len(found.get(name, ())) for name in ("many", "medium", "few")) == groups
    assert ("few" in found) == (groups[2] > 0), "an empty group is absent"


def test_group_means_of_cifar100_lt():
    sizes = class_sizes(Recipe("exponential", 100), np.full(100, 500))
    means = {name: sizes[classes].mean() for name, classes in group_of(sizes, group_limits(False)).items()}
    assert {name: round(mean, 1) for name, mean in means.items()} == {"many": 252.1, "medium": 49.1, "few": 10.2}


def test_step():
    sizes = class_sizes(Recipe("step", 100), np.full(10, 5000))
    assert sizes.tolist() == [5000] * 5 + [50] * 5


def test_group_limits_at_their_edges():
    counts = np.array([101, 100, 20, 19, 0])
    single, multi = (group_of(counts, group_limits(kind)) for kind in (False, True))
    assert {name: c.tolist() for name, c in single.items()} == {"many": [0], "medium": [1, 2], "few": [3, 4]}
    assert {name: c.tolist() for name, c in multi.items()} == {"head": [0, 1], "medium": [2], "tail": [3, 4]}


def test_a_class_never_gets_more_images_than_it_has():
    assert class_sizes(Recipe("exponential", 4), np.array([100, 3, 100])).tolist() == [100, 3, 25]


def test_choice_depends_on_data_set_imbalance_and_seed_only():
    labels, recipe = balanced(10, 60), Recipe("exponential", 20)
    kept = choose(recipe, labels, "made", seed=0)
    assert np.array_equal(kept, choose(recipe, labels, "made", seed=0))
    assert (np.diff(kept) > 0).all()
    assert labels.take(kept).counts().tolist() == class_sizes(recipe, labels.counts()).tolist()
    for other in (choose(recipe, labels, "made", seed=1), choose(recipe, labels, "else", seed=0)):
        assert len(other) == len(kept) and not np.array_equal(other, kept)


def test_pareto_falls_along_its_density_in_a_random_order_of_the_classes():
    labels, recipe = balanced(1000, 1300), Recipe("pareto", 256, largest=1280)
    counts = labels.take(choose(recipe, labels, "made", seed=0)).counts()
    assert counts.max() == 1280 and counts.min() == 5
    x = np.linspace(1, 256 ** (1 / 7), 1000)
    assert np.array_equal(np.sort(counts)[::-1], np.floor(1280 * x**-7.0 + 1e-9))
    other = labels.take(choose(recipe, labels, "made", seed=1)).counts()
    assert np.array_equal(np.sort(other), np.sort(counts)) and not np.array_equal(other, counts)


def test_largest_caps_the_largest_class():
    assert class_sizes(Recipe("exponential", 10, largest=50), np.full(3, 500)).tolist() == [50, 15, 5]


def test_ids_keep_what_they_name_by_id_or_by_file_name():
    labels = balanced(2, 5)
    kept = choose(Recipe("ids", ids=frozenset(["folder/3.png", "7"])), labels, "made", seed=5)
    assert kept.tolist() == [3, 7]
    with pytest.raises(UserError, match="1 of 2 ids are no training image, such as 'else'"):
        choose(Recipe("ids", ids=frozenset(["else", "7"])), labels, "made", seed=5)


def test_a_file_name_that_several_images_have_is_no_id():
    ids = ["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"]
    with pytest.raises(UserError, match="id '1' is the name of 2 images, such as 'cat/1.jpg'; write whole ids"):
        choose_by(Recipe("ids", ids=frozenset("1")), balanced(1, 3), False, "made", 0, lambda: ids)
    kept = choose_by(Recipe("ids", ids=frozenset(["cat/1.jpg", "2"])), balanced(1, 3), False, "made", 0, lambda: ids)
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize("largest", [0, -1, 10**30])
def test_impossible_largest_classes(largest):
    with pytest.raises(UserError, match="give 1 or more"):
        Recipe("step", 10, largest)


@pytest.mark.parametrize(("name", "fitting"), [("voc-lt", "exponential"), ("coco-lt", "pareto")])
def test_recipes_for_several_labels_refuse_one_label(name, fitting):
    with pytest.raises(UserError, match=f"does not fit one label an image; choose .*{fitting}"):
        choose(Recipe(name), balanced(2, 5), "made", 0)


def test_what_is_recorded_tells_recipes_apart():
    recipes = [Recipe(), Recipe("step", 10), Recipe("step", 10, 5), Recipe("ids", ids=frozenset("a")),
               Recipe("ids", ids=frozenset("b"))]  # fmt: skip
    assert len({str(recipe.describe()) for recipe in recipes}) == len(recipes)


def test_what_a_recipe_fixes_or_takes_by_default_is_recorded_as_well():
    assert Recipe("voc-lt").describe() == {"name": "voc-lt", "imbalance": 100, "largest": 800}
    assert Recipe("coco-lt").describe() == {"name": "coco-lt", "imbalance": 100, "largest": 1200}
    assert Recipe("coco-lt", largest=50).describe()["largest"] == 50


@pytest.mark.parametrize(("name", "imbalance"), [("exponental", 10), ("step", 0.5), ("step", float("nan"))])
def test_wrong_recipes(name, imbalance):
    with pytest.raises(UserError):
        Recipe(name, imbalance)


def test_a_recipe_that_leaves_a_class_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match="recipe exponential leaves class 'class 1' no training image; loosen it"):
        build(counted([9, 3]), tmp_path, Recipe("exponential", 100), workers=1)
    with pytest.raises(UserError, match="recipe ids leaves class 'class 0' no training image"):
        build(counted([2, 1]), tmp_path, Recipe("ids", ids=frozenset(["2.png"])), workers=1)


def test_a_list_of_ids_that_cannot_be_read(tmp_path):
    for content, message in ((None, "cannot be read: No such file"), (b"\xff", "cannot be read: it is not UTF-8 text")):
        if content:
            (tmp_path / "ids.txt").write_bytes(content)
        with pytest.raises(UserError, match=f"ids.txt {message}.*; give a text file with one id a line$"):
            build_data_set("digits", None, tmp_path / "out", Console(), ids=tmp_path / "ids.txt")

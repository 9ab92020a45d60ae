"""The split of Corel-5k that its recipes speak of."""

import re

from fastlt import resources
from fastlt.data.longtail import Recipe
from fastlt.data.plan import make_plans
from fastlt.data.sources import open_source


def test_the_share_for_validation_that_the_recipe_names_gives_4000_500_and_499_pictures(real_data):
    share = float(re.search(r"--val ([\d.]+)", resources.recipe("corel5k/bce"))[1])
    plans, _ = make_plans(open_source("corel5k", real_data("corel5k.tar.xz")), Recipe(), 0, share)
    assert {plan.split: len(plan) for plan in plans} == {"train": 4000, "val": 500, "test": 499}

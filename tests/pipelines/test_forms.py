"""The two forms of a recipe show the same: one pass of the compiled operator, and DALI's graph, which is the GPU's too.

They differ by rounding alone. Where nothing but a resize comes before normalisation, that is hundredths of a level;
where whole numbers come in between, the two may round to different ones; and operations of policies such as equalising
enlarge that.
"""

import numpy as np
import pytest
import torch
from dali_graphs import ALL_OPTIONS, photo, pixels, run

from fastlt import augment, one_pass
from fastlt.config import PipelineConfig

pytestmark = pytest.mark.usefixtures("operator")
POLICIES = [{"rand_augment": {}}, *({"auto_augment": name} for name in ("imagenet", "cifar10", "svhn"))]
SIDES = [(427, 640), (64, 64), (300, 200), (97, 131), (32, 32), (900, 40)]
PICTURES = [photo(*sides, which) for sides in SIDES for which in (0, 1)]


def difference(config, encoding="raw"):
    """In levels of 0..255."""
    operator, graph = (
        pixels(config, run(config, PICTURES, form=form, encoding=encoding, threads=2)) for form in ("operator", "graph")
    )
    return np.abs(operator - graph)


@pytest.mark.parametrize("recipe", augment.NAMES)
def test_every_recipe_is_one_that_the_operator_serves(recipe):
    assert one_pass.serves(PipelineConfig(name=recipe))


@pytest.mark.parametrize("encoding", ["raw", "encoded"])
@pytest.mark.parametrize("recipe", [name for name in augment.NAMES if name != "photometric"])
def test_plain_recipes_agree_to_a_twentieth_of_a_level(recipe, encoding):
    assert difference(PipelineConfig(name=recipe, size=64), encoding).max() <= 0.05


@pytest.mark.parametrize(
    "asked", [{"name": "photometric"}, *({"name": n, **ALL_OPTIONS} for n in augment.NAMES)], ids=str
)
def test_colours_agree_to_a_level_and_nearly_everywhere_exactly(asked):
    found = difference(PipelineConfig(size=64, **asked))
    assert found.max() <= 1.01
    assert (found > 0.05).mean() < 0.01


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_policies_agree_in_the_mean_and_at_nearly_every_pixel(policy):
    found = difference(PipelineConfig(name="squash", size=64, **policy))
    assert found.mean() <= 0.1
    assert (found > 1.01).mean() < 0.01


def test_a_recipe_that_does_not_say_so_is_served_by_its_graph(monkeypatch):
    monkeypatch.delattr(augment.load("squash"), "ONE_PASS")
    assert not one_pass.serves(PipelineConfig(name="squash"))


def test_memory_is_used_again_only_when_nothing_looks_at_it():
    memory = one_pass.Memory((4, 5), torch.float32)
    first = memory.take()
    view, place = first[1:], first.data_ptr()
    del first
    assert memory.take().data_ptr() != place
    del view
    assert memory.take().data_ptr() == place

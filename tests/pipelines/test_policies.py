"""RandAugment and AutoAugment: what is drawn follows the policies, and the graph does what is drawn."""

import numpy as np
import pytest
from dali_graphs import photo, pixels, run
from PIL import Image, ImageOps

from fastlt.augmentation import policies
from fastlt.augmentation.draws import Draws
from fastlt.config import PipelineConfig

COUNT = 30_000


def draw(config: PipelineConfig) -> dict[str, np.ndarray]:
    return policies.parameters(config, Draws(4, np.arange(COUNT)))


def test_rand_augment_draws_every_operation_equally_in_every_turn():
    config = PipelineConfig(rand_augment={"operations": 3, "magnitude": 7})
    drawn = draw(config)
    assert drawn["policy_operation"].shape == (COUNT, 3)
    for turn in range(3):
        share = np.bincount(drawn["policy_operation"][:, turn], minlength=14) / COUNT
        np.testing.assert_allclose(share, 1 / 14, atol=0.006)
    assert (drawn["policy_magnitude"] == 7).all()
    assert abs(drawn["policy_sign"].mean() - 0.5) < 0.01


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_applies_operations_as_often_as_its_table_says(name):
    config = PipelineConfig(auto_augment=name)
    policy = policies.auto_augment_policy(name, config.size)
    assert len(policy.operation) == 25
    drawn = draw(config)["policy_operation"]
    for turn in range(2):
        expected = np.zeros(len(policy.operations))
        np.add.at(expected, policy.operation[:, turn], policy.probability[:, turn] / 25)
        expected[-1] = 1 - expected[:-1].sum()
        share = np.bincount(drawn[:, turn], minlength=len(expected)) / COUNT
        np.testing.assert_allclose(share, expected, atol=0.01)


def test_auto_augment_for_imagenet_has_the_first_sub_policy_of_dali():
    policy = policies.auto_augment_policy("imagenet", 224)
    assert [policy.operations[index].name for index in policy.operation[0]] == ["equalize", "shear_y"]
    np.testing.assert_array_equal(policy.probability[0], [0.8, 0.8])
    assert policy.magnitude[0, 1] == 4


def by_hand(operation: str, image: np.ndarray) -> np.ndarray | None:
    """What magnitude 9 of 30 makes of the image, for the operations that are the same everywhere."""
    if operation == "identity":
        return image
    if operation == "posterize":
        return np.asarray(ImageOps.posterize(Image.fromarray(image), 8 - round(4 * 9 / 30)))
    if operation == "solarize":
        return np.where(image < 256 - 256 * 9 / 30, image, 255 - image)
    return None


def test_the_graph_applies_the_operation_that_was_drawn():
    config = PipelineConfig(name="squash", size=48, horizontal_flip=0, rand_augment={"operations": 1, "magnitude": 9})
    image, positions = photo(48, 48), np.arange(60)
    seen = pixels(config, run(config, [image] * 60, positions))
    drawn = policies.parameters(config, Draws(1, positions))["policy_operation"][:, 0]
    suite = policies.rand_augment_operations(48)
    checked = set()
    for row, index in enumerate(drawn):
        name = suite[index].name
        expected = by_hand(name, image)
        if expected is not None:
            np.testing.assert_allclose(seen[row], expected, atol=1e-3, err_msg=name)
            checked.add(name)
        elif name != "auto_contrast":  # the photo has black and white already
            assert np.abs(seen[row] - image).max() > 1, name
    assert checked == {"identity", "posterize", "solarize"}

"""Cross-fitting: which network scores which training image."""

import numpy as np
import pytest

from fastlt.data.shards import ShardSet
from fastlt.train import cross_fit
from fastlt.train.display import Display
from tests.train.test_trainer import ALONE, config_of


class Remembering:
    """Stands for a network: its scores of an image are whether it was trained on it, and which image that is."""

    def __init__(self, ids):
        self.ids = ids

    def scores(self, records, tick):
        rows = np.arange(len(records))
        known = [name in self.ids for name in records.ids(rows)]
        return np.stack([known, rows], axis=1), rows


@pytest.mark.parametrize("folds", [2, 5])
def test_each_training_image_is_scored_once_by_a_network_that_never_saw_it(scenes, tmp_path, monkeypatch, folds):
    trained_on = []
    monkeypatch.setattr(cross_fit, "_train_on", lambda ids, *_: trained_on.append(ids) or Remembering(ids))
    config = config_of(scenes, recipe="digits_scenes/erm")
    scores, labels = cross_fit.held_out_scores(config, scenes, folds, tmp_path, ALONE, Display(quiet=True))
    seen, image = scores.T
    assert not seen.any()
    with ShardSet(scenes / "train") as records:
        assert sorted(image) == list(range(len(records)))
        assert np.array_equal(labels, records.labels(image))
        sizes = [len(records) - len(ids) for ids in trained_on]
    assert len(sizes) == folds and max(sizes) - min(sizes) <= 1


def test_an_image_is_in_the_same_fold_every_time(scenes, tmp_path, monkeypatch):
    trained_on = []
    monkeypatch.setattr(cross_fit, "_train_on", lambda ids, *_: trained_on.append(ids) or Remembering(ids))
    config = config_of(scenes, recipe="digits_scenes/erm")
    for _ in range(2):
        cross_fit.held_out_scores(config, scenes, 3, tmp_path, ALONE, Display(quiet=True))
    assert trained_on[:3] == trained_on[3:] and len(set(trained_on)) == 3

"""The class prior counts each picture once, and none that does not decode."""

import numpy as np
import pytest
import torch

from fastlt.distributed import Ranks
from fastlt.errors import UserError
from fastlt.evaluate import prior

ALONE = Ranks(0, 1, torch.device("cpu"))
SCORES = torch.tensor([[80.0, -80.0], [0.0, 1.0], [float("nan"), 5.0], [2.0, -3.0], [9.0, 9.0]])


class Given:
    """Scores that are there already."""

    def predict(self, images):
        return images


def shown(monkeypatch, readable):
    """Two batches of SCORES, of which those marked count."""

    def show_all(method, records, config, ranks, take, tick=None):
        for rows in (slice(0, 3), slice(3, 5)):
            take(SCORES[rows], np.arange(5)[rows], np.array(readable)[rows])

    monkeypatch.setattr(prior, "show_all", show_all)
    return prior.mean_probability(Given(), None, None, ALONE)


def test_it_is_the_mean_of_sigmoids_over_what_decodes(monkeypatch):
    found, images = shown(monkeypatch, [True, True, False, True, False])
    counted = SCORES[[0, 1, 3]].double().sigmoid().mean(0)
    assert images == 3
    np.testing.assert_allclose(found, counted, rtol=1e-12)


def test_nothing_that_decodes_is_the_users_to_mend(monkeypatch):
    with pytest.raises(UserError, match="no training picture decodes"):
        shown(monkeypatch, [False] * 5)

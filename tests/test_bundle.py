"""A step of several streams holds what each holds alone, for any number of ranks and of steps worked out at once."""

import numpy as np
import pytest
import torch

from fastlt import bundle
from fastlt.bundle import Bundle, by_graph
from fastlt.config import PipelineConfig, StreamConfig
from tests.test_part import part_of

BATCH = 12
SPECS = {
    "uniform": {},
    "two views": {"views": 2},
    "balanced": {"stream": StreamConfig(sampling="class_balanced"), "batch_share": 0.5},
    "in order": {"stream": StreamConfig(sampling="sequential")},
}


def parts(*names):
    return [part_of(name, BATCH, **SPECS[name]) for name in names or SPECS]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_step_is_what_it_is_alone(name, ranks, monkeypatch):
    together = [[Bundle(parts(name), rank, ranks).rows(step) for rank in range(ranks)] for step in (7, 3, 400)]
    monkeypatch.setattr(bundle, "AT_ONCE", 1)
    (part,) = parts(name)
    for step, found in zip((7, 3, 400), together, strict=True):
        alone = Bundle([part], 0, 1).rows(step)
        assert alone.position.tolist() == list(range(step * part.batch, (step + 1) * part.batch))
        assert np.array_equal(alone.wanted, part.stream.indices(step * part.batch, part.batch))
        assert np.array_equal(np.concatenate([rows.position for rows in found]), alone.position)
        assert np.array_equal(np.concatenate([rows.wanted for rows in found]), alone.wanted)
        for drawn, values in alone.drawn.items():
            views = [rows.drawn[drawn].reshape(part.spec.views, -1, *values.shape[1:]) for rows in found]
            assert np.array_equal(np.concatenate(views, axis=1).reshape(values.shape), values)


@pytest.mark.parametrize(("rank", "ranks"), [(0, 1), (1, 3)])
def test_streams_side_by_side_are_each_what_it_is_alone(rank, ranks):
    several, alone = Bundle(parts(), rank, ranks), [Bundle([part], rank, ranks) for part in parts()]
    for step in (0, 5, 400):
        rows, each = several.rows(step), [one.rows(step) for one in alone]
        assert np.array_equal(rows.position, np.concatenate([one.position for one in each]))
        assert np.array_equal(rows.wanted, np.concatenate([one.wanted for one in each]))
        assert np.array_equal(rows.wanted, several.wanted(step))
        for name, values in rows.drawn.items():
            assert np.array_equal(values, np.concatenate([one.drawn[name] for one in each]))


def test_its_rows_are_given_back_to_their_streams():
    own = Bundle(parts("two views", "balanced"), 0, 1)
    rows = torch.arange(18)
    assert own.views.tolist() == [*range(12), *range(12), *range(12, 18)]
    assert {name: len(found) for name, found in own.by_stream(rows).items()} == {"two views": 12, "balanced": 6}
    pictures = own.views_by_stream(rows[own.views])
    assert torch.equal(pictures["two views"], rows[:12].expand(2, 12))
    assert torch.equal(pictures["balanced"], rows[12:])


def test_what_one_row_draws_is_what_its_stream_draws_there():
    own = Bundle(parts("uniform", "two views"), 1, 3)
    rows = own.rows(2)
    for row in range(8):
        views = own.draw_at(row, int(rows.position[row]), int(rows.wanted[row]))
        places = np.flatnonzero(own.views == row)
        for place, view in zip(places, views, strict=True):
            assert all(np.array_equal(values[0], rows.drawn[name][place]) for name, values in view.items())


def test_only_streams_of_one_pipeline_share_a_graph():
    other = part_of("other", BATCH, pipeline=PipelineConfig(name="evaluate", size=24))
    uniform, balanced = parts("uniform", "balanced")
    found = by_graph([uniform, other, balanced], 0, 1)
    assert [[part.name for part in one.parts] for one in found] == [["uniform", "balanced"], ["other"]]

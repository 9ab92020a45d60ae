"""The window of steps to come: what may be asked for is there, what is ahead is bounded, and no thread is left."""

import threading
import time

import pytest

from fastlt.prefetch import Window

LATE = 10  # seconds


class Steps:
    """Prepares each step as its own number, and keeps count."""

    def __init__(self, fails_at=None):
        self.made, self.fails_at = [], fails_at

    def __call__(self, step):
        if step == self.fails_at:
            raise ValueError(f"step {step}")
        self.made.append(step)
        return step


def settled(steps):
    """What has been made when nothing more is."""
    count = -1
    while count != len(steps.made):
        count = len(steps.made)
        time.sleep(0.02)
    return steps.made


@pytest.mark.parametrize("spare", [0, 1, 4])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_steps_from_the_oldest_on_can_be_had_at_any_time(depth, spare):
    """A graph asks that far ahead before it gives the oldest."""
    window, found = Window(Steps(), 7, depth, "test", spare), []

    def use():
        for oldest in range(7, 60):
            found.append([window.get(step) for step in range(oldest, oldest + depth)])
            window.drop_before(oldest + 1)

    user = threading.Thread(target=use, daemon=True)
    user.start()
    user.join(LATE)
    assert not user.is_alive() and found == [[*range(o, o + depth)] for o in range(7, 60)]
    window.close()


@pytest.mark.parametrize(("depth", "spare"), [(1, 0), (3, 0), (3, 2), (1, 5)])
def test_no_more_than_depth_and_spare_are_ahead(depth, spare):
    steps = Steps()
    window = Window(steps, 0, depth, "test", spare)
    for oldest in range(9):
        window.drop_before(oldest)
        assert oldest + depth <= len(settled(steps)) <= oldest + depth + spare
    window.close()
    assert steps.made == sorted(set(steps.made))


def test_a_full_window_is_filled_again_when_its_spare_steps_are_used():
    steps = Steps()
    window = Window(steps, 0, 3, "test", spare=4)
    assert len(settled(steps)) == 7
    window.drop_before(4)
    assert len(settled(steps)) == 7
    window.drop_before(5)
    assert len(settled(steps)) == 12
    window.close()


def test_an_error_is_raised_where_its_step_is_asked_for():
    window = Window(Steps(fails_at=2), 0, 4, "test")
    assert [window.get(0), window.get(1)] == [0, 1]
    with pytest.raises(ValueError, match="step 2"):
        window.get(2)
    window.close()


@pytest.mark.parametrize("spare", [0, 3])
def test_closing_leaves_no_thread_behind(spare):
    window = Window(Steps(), 0, 2, "test-closing", spare)
    window.get(1)
    window.close()
    assert "test-closing" not in {thread.name for thread in threading.enumerate()}

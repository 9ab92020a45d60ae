"""The window of steps to come: what may be asked for is there, what is ahead is bounded, and no thread is left."""

import threading
import time

import pytest

from fastlt.prefetch import Window

LATE = 10  # seconds


class Steps:
    """Prepares each step as its own number, and keeps count; several at once if need be."""

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


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_helped_window_gives_each_step_once_and_in_order_with_any_number_of_threads(depth, threads):
    steps = Steps()
    window, found = Window(steps, 7, depth, "test", threads=threads, helped=True), []
    for step in range(7, 207):
        found.append(window.get(step))
        window.drop_before(step + 1)
    window.close()
    assert found == [*range(7, 207)]
    assert sorted(steps.made) == [*range(7, 7 + len(steps.made))] and len(steps.made) <= 200 + depth


def test_who_would_wait_for_a_step_prepares_the_next_one():
    makers, may_end = {}, threading.Event()

    def prepare(step):
        makers[step] = threading.current_thread()
        if step == 0:
            begun.set()
            assert may_end.wait(LATE)
        else:
            may_end.set()  # so step 0 is there only when another has been begun beside it

    begun = threading.Event()
    window = Window(prepare, 0, 2, "test", threads=1, helped=True)
    assert begun.wait(LATE)
    window.get(0)
    window.close()
    assert makers[0] is not threading.current_thread() and makers[1] is threading.current_thread()


def test_windows_may_be_asked_by_the_threads_of_another():
    inner = Window(Steps(), 0, 9, "test-inner", threads=0, helped=True)
    outer = Window(inner.get, 0, 4, "test-outer", threads=2, helped=True)
    for step in range(300):
        assert outer.get(step) == step
        for window in (outer, inner):
            window.drop_before(step + 1)
    outer.close()
    inner.close()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_error_ends_a_helped_window_at_its_step_and_not_before(threads):
    window = Window(Steps(fails_at=2), 0, 4, "test", threads=threads, helped=True)
    assert [window.get(0), window.get(1)] == [0, 1]
    for step in (2, 3):
        with pytest.raises(ValueError, match="step 2"):
            window.get(step)
    window.close()


def test_ctrl_c_while_helping_is_raised_at_once_and_leaves_nobody_waiting():
    def prepare(step):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return step

    def ask():
        with pytest.raises(KeyboardInterrupt):
            window.get(0)
        refused.set()

    window, refused = Window(prepare, 0, 4, "test", threads=0, helped=True), threading.Event()
    with pytest.raises(KeyboardInterrupt):
        window.get(3)
    threading.Thread(target=ask, daemon=True).start()
    assert refused.wait(LATE)
    window.close()

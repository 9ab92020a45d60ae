"""Whatever a picture does to the decoder, the one who asked gets an answer, and no process outlives its owner."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_sources import encoded, pixels

from fastlt.data import decoders_agree, decoding_process
from fastlt.data.decoders_agree import NOT_DECODED, available, disagreements
from fastlt.data.decoding_process import DecodingProcess
from fastlt.data.pictures import Checks, Picture, Treatment, prepare_all
from fastlt.errors import UserError

# A decoder whose pictures are the bytes of their files, in one row, but for files that say what is to happen.
FAKE = f"""
import os, signal, sys, time
sys.path[:] = {sys.path!r}
from pathlib import Path
from fastlt.data.decoding_child import serve

def decode(files):
    for word, *argument in [bytes(file).decode("latin1").split() or [""] for file in files]:
        if word == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif word == "hang":
            while True:  # and lets no other thread of Python run
                pass
        elif word == "refuse":
            raise RuntimeError("refused")
        elif word == "wait" and not Path(argument[0]).exists():  # the first time
            Path(argument[0] + ".aside").write_text(str(os.getpid()))
            os.rename(argument[0] + ".aside", argument[0])
            time.sleep(1000)
        elif word == "print":
            os.write(1, b"on standard output")
            os.write(2, b"on standard error")
    return [file[: len(file) // 3 * 3].reshape(1, -1, 3) for file in files]
"""
needs_dali = pytest.mark.skipif(not available(), reason="NVIDIA DALI is not installed")


@pytest.fixture
def fake(monkeypatch):
    """Puts a program in the place of the true one; without an argument, the fake decoder."""

    def use(program=FAKE + "serve(lambda: decode)"):
        monkeypatch.setattr(decoding_process, "command", lambda: [sys.executable, "-c", program])

    forget()
    use()
    yield use
    forget()


def forget():
    """The next question starts a process."""
    decoders_agree._of_thread.__dict__.clear()


def shown(file):
    return np.frombuffer(file[: len(file) // 3 * 3], np.uint8).reshape(1, -1, 3)


def ask(*files):
    return disagreements(list(files), [shown(file) for file in files])


def running(pid):
    """Whether there is such a process, and not only a zombie that nobody has asked after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pid_in(path):
    """Waits until a process has left its number there."""
    while not path.exists():
        time.sleep(0.01)
    return int(path.read_text())


def ends(pid):
    """Waits until it has; the limit of every test says for how long."""
    while running(pid):
        time.sleep(0.01)
    return True


class TestAnswers:
    def test_no_files(self, fake):
        assert ask() == []

    def test_more_bytes_than_a_pipe_holds_pass_either_way(self, fake):
        large = bytes(3_000_000)
        assert ask(large, b"refuse", large) == [None, NOT_DECODED, None]

    def test_what_the_decoder_prints_is_neither_seen_nor_taken_for_an_answer(self, fake, capfd):
        assert ask(b"print", b"abc", b"print") == [None] * 3
        assert capfd.readouterr() == ("", "")

    def test_one_process_answers_all_questions(self, fake):
        pids = set()
        for _ in range(3):
            assert ask(b"abc", b"refuse") == [None, NOT_DECODED]
            pids.add(decoders_agree._of_thread.process._process.pid)
        assert len(pids) == 1

    def test_they_do_not_depend_on_what_is_asked_together(self, fake):
        files = [b"abc", b"crash", b"refuse", b"abcdef", b"crash", b"abc"]
        alone = [ask(file)[0] for file in files]
        assert alone == [None, NOT_DECODED, NOT_DECODED, None, NOT_DECODED, None]
        for size in (2, 3, 7):
            parts = [files[i : i + size] for i in range(0, len(files), size)]
            assert [answer for part in parts for answer in ask(*part)] == alone


class TestWhatGoesWrong:
    @pytest.fixture(autouse=True)
    def _soon(self, fake, monkeypatch):
        monkeypatch.setattr(decoding_process, "TRY_SECONDS", 3.0)

    @pytest.mark.parametrize("wrong", [b"crash", b"hang", b"refuse"])
    def test_a_picture_that_crashes_or_hangs_the_decoder_is_one_that_it_does_not_decode(self, wrong):
        assert ask(b"abc", wrong, b"abcdef") == [None, NOT_DECODED, None]
        assert ask(b"abc") == [None]

    @pytest.mark.parametrize("others", [[], [b"abc", b"abcdef"]])
    def test_a_process_that_is_killed_from_outside_changes_no_answer(self, others, tmp_path):
        wait = b"wait " + str(tmp_path / "pid").encode()
        killer = threading.Thread(target=lambda: os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL))
        killer.start()
        assert ask(*others, wait, *others) == [None] * (2 * len(others) + 1)
        killer.join()

    def test_a_process_that_is_killed_between_two_questions_changes_no_answer(self):
        for _ in range(3):
            assert ask(b"abc", b"abcdef") == [None, None]
            os.kill(decoders_agree._of_thread.process._process.pid, signal.SIGKILL)
        assert ask(b"abc") == [None]

    def test_a_process_that_is_no_more_leaves_no_zombie(self):
        ask(b"abc")
        pid = decoders_agree._of_thread.process._process.pid
        assert ask(b"crash") == [NOT_DECODED]
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    @pytest.mark.parametrize(
        ("program", "reason"),
        [
            (FAKE + "serve(lambda: __import__('no_such_module'))", "No module named 'no_such_module'"),
            ("raise SystemExit(3)", "its process ended with status 3"),
            (FAKE + "os.kill(os.getpid(), signal.SIGSEGV)", "its process ended with status -11"),
        ],
    )
    def test_a_decoder_that_cannot_be_loaded_ends_it_with_one_line(self, fake, program, reason):
        fake(program)
        with pytest.raises(UserError, match="^NVIDIA DALI cannot be loaded to try pictures") as caught:
            ask(b"abc")
        assert reason in str(caught.value) and "\n" not in str(caught.value)


class TestNothingIsLeft:
    def test_when_the_thread_that_asked_ends(self, fake):
        def pid():
            ask(b"abc")
            return decoders_agree._of_thread.process._process.pid

        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(pid).result()
            assert running(started)
        assert ends(started)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("doing", ["nothing", "a picture"])
    def test_when_the_process_that_asked_is_stopped(self, tmp_path, doing, number):
        pid_file = tmp_path / "pid"
        question = "b'wait ' + PID.encode()" if doing == "a picture" else "b'abc'"
        code = f"""
            import signal, sys, time
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            sys.path[:] = {[*sys.path, str(Path(__file__).parent)]!r}
            import numpy as np
            from fastlt.data import decoders_agree, decoding_process
            PID = {str(pid_file)!r}
            decoding_process.command = lambda: [sys.executable, "-c", {FAKE + "serve(lambda: decode)"!r}]
            decoders_agree.disagreements([{question}], [np.zeros((1, 1, 3), np.uint8)])
            with open(PID + ".aside", "w") as file:
                file.write(str(decoders_agree._of_thread.process._process.pid))
            __import__("os").rename(PID + ".aside", PID)
            time.sleep(1000)
        """
        owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.DEVNULL)
        pid = pid_in(pid_file)
        assert running(pid)
        owner.send_signal(number)
        owner.wait()
        assert ends(pid)

    def test_when_the_process_that_asked_is_done(self, tmp_path):
        code = f"""
            import sys
            sys.path[:] = {sys.path!r}
            import numpy as np
            from fastlt.data import decoders_agree, decoding_process
            decoding_process.command = lambda: [sys.executable, "-c", {FAKE + "serve(lambda: decode)"!r}]
            assert decoders_agree.disagreements([b"abc"], [np.frombuffer(b"abc", np.uint8).reshape(1, 1, 3)]) == [None]
            print(decoders_agree._of_thread.process._process.pid)
        """
        run = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        assert done.stderr == "" and not running(int(done.stdout))


def judge(seed):
    """What trying finds of a few pictures, in whatever process this runs."""
    image = pixels(seed)
    return disagreements([encoded(image, "BMP"), b"broken", encoded(image)], [image] * 3)


@needs_dali
class TestWherever:
    def test_in_a_worker_process(self):
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            assert list(pool.map(judge, range(4))) == [[None, NOT_DECODED, None]] * 4

    def test_in_a_daemon_which_may_have_no_children_of_its_own(self):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(judge, range(2)) == [[None, NOT_DECODED, None]] * 2

    def test_in_a_fork_of_a_process_that_has_asked_already(self):
        assert judge(0) == [None, NOT_DECODED, None]
        mine = decoders_agree._of_thread.process._process.pid
        fork = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(judge(1) != judge(0)))
        fork.start()
        fork.join()
        assert fork.exitcode == 0 and running(mine)
        assert judge(2) == [None, NOT_DECODED, None] and decoders_agree._of_thread.process._process.pid == mine

    def test_in_threads_each_with_a_process_of_its_own(self):
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(judge, range(12))) == [[None, NOT_DECODED, None]] * 12


@needs_dali
@pytest.mark.parametrize("place", [0, 7, 15])
def test_refused_files_do_not_crash_dali(place):
    """From 32 files on they do, when the refused one comes first: DALI does not wait for its other threads."""
    assert decoders_agree.BATCH < 32
    image = pixels(0)
    files = [encoded(image)] * decoders_agree.BATCH
    files[place] = encoded(image, "GIF")
    process = DecodingProcess()
    assert [process.compare(files, [image] * len(files)) for _ in range(20)] == [None] * 20
    process.end()


@needs_dali
def test_where_dali_itself_crashes_the_answers_are_right(fake):
    fake(FAKE + "from fastlt.data import decoding_child; decoding_child.BATCH = 64; serve()")
    image = pixels(0)
    files = [encoded(image, "GIF"), *[encoded(image)] * 63]
    assert disagreements(files, [image] * 64) == [NOT_DECODED] + [None] * 63


class TestWhatItCosts:
    def test_nothing_is_started_where_all_pictures_are_plain(self, monkeypatch):
        monkeypatch.setattr(decoders_agree, "DecodingProcess", lambda: pytest.fail("started"))
        plain = [encoded(pixels(i), kind) for i in range(20) for kind in ("JPEG", "PNG", "WEBP")]
        for decode in (True, False):
            stored = prepare_all(plain, Treatment(), Checks(decode, dali=True))
            assert stored == [Picture(data, 12, 16) for data in plain]

    def test_dali_is_not_imported_by_the_process_that_asks(self):
        code = f"""
            import sys
            sys.path[:] = {[*sys.path, str(Path(__file__).parent)]!r}
            from made_sources import encoded, pixels
            from fastlt.data.pictures import Checks, Treatment, prepare_all
            prepare_all([encoded(pixels(0), "BMP")], Treatment(), Checks())
            assert "nvidia.dali" not in sys.modules
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)

    def test_without_dali_nothing_is_tried(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "nvidia.dali", None)
        assert not available() and not Checks().dali

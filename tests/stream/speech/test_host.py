"""A back end's process is started, watched, ended and started again, and nothing of it is left behind."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.host import Failure, Health, Host, Program
from tests.stream.speech.programs import scripted

pytestmark = pytest.mark.unit


class Watched:
    """A host with a list of what it reported."""

    def __init__(self, program: Program) -> None:
        self.failures: list[Failure] = []
        self.host = Host(program, MonotonicClock(), self.failures.append)

    def speak(self, text: str, clause_id: int = 1, language: str = "en") -> list[str]:
        """The phones of a text."""
        answer = self.host.exchange("speak", clause_id, text=text, language=language)
        return [message.fields["phones"][0][0] for message in answer]


@pytest.fixture
def watch() -> Iterator[Callable[[Program], Watched]]:
    made: list[Watched] = []

    def make(program: Program) -> Watched:
        made.append(Watched(program))
        return made[-1]

    yield make
    for watched in made:
        watched.host.close()


Watch = Callable[[Program], Watched]


def _children() -> set[int]:
    """Processes of this one that run or wait to be collected."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def _worker() -> int:
    """The one scripted back end that runs."""
    (pid,) = [pid for pid in _children() if b"scripted_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid


def test_it_starts_with_the_first_request_and_says_what_it_is(watch: Watch) -> None:
    watched = watch(scripted())
    assert watched.host.health() == Health("stopped", 0, 0, 0)
    assert watched.speak("abc") == ["a", "b", "c"]
    assert watched.host.health() == Health("running", 0, 0, 0)
    assert watched.host.start().fields["name"] == "scripted"


def test_a_program_that_is_not_installed_is_named_with_its_remedy(watch: Watch) -> None:
    program = Program("nobody", ("no-such-program",), "Install it: apt-get install nobody")
    with pytest.raises(ConfigError, match=r"nobody: no-such-program .*apt-get install nobody"):
        watch(program).host.start()


def test_a_library_that_is_not_installed_is_named_with_its_remedy(watch: Watch) -> None:
    before = _children()
    with pytest.raises(ConfigError, match=r"scripted: libscripted was not found\. Install libscripted\."):
        watch(scripted("absent")).host.start()
    assert _children() == before


def test_a_crash_costs_one_request_and_is_counted_with_its_last_words(watch: Watch) -> None:
    watched = watch(scripted())
    with pytest.raises(BackEndError, match="crashed: exit status 7: it fell over"):
        watched.speak("CRASH abcdef")
    assert [(f.reason, f.count, f.restarted) for f in watched.failures] == [("crashed", 1, True)]
    assert watched.speak("abc") == ["a", "b", "c"]
    assert watched.host.health() == Health("running", 1, 0, 1)


def test_a_hang_is_ended_at_the_deadline_and_counted(watch: Watch) -> None:
    watched = watch(scripted(answer_ms=1_000))
    watched.host.start()
    pid = _worker()
    with pytest.raises(BackEndError, match="hung"):
        watched.speak("HANG abcdef")
    assert [(f.reason, f.count, f.restarted) for f in watched.failures] == [("hung", 1, True)]
    assert pid not in _children()
    assert watched.speak("abc") == ["a", "b", "c"]
    assert watched.host.health() == Health("running", 0, 1, 1)


def test_a_process_that_stopped_reading_is_a_hang_too(watch: Watch) -> None:
    watched = watch(scripted(answer_ms=1_000))
    watched.host.start()
    pid = _worker()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(BackEndError, match="hung"):
        list(watched.host.exchange("speak", 1, bytes(1 << 20), text="a", language="en"))
    assert watched.speak("abc") == ["a", "b", "c"]


def test_rubbish_in_the_pipe_ends_the_process(watch: Watch) -> None:
    watched = watch(scripted())
    with pytest.raises(BackEndError, match="garbled"):
        watched.speak("RUBBISH abcdef")
    assert watched.speak("abc") == ["a", "b", "c"]


def test_a_process_that_died_between_two_requests_is_replaced_unseen_but_counted(watch: Watch) -> None:
    watched = watch(scripted())
    watched.host.start()
    pid = _worker()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert watched.speak("abc") == ["a", "b", "c"]
    assert [(f.reason, f.detail) for f in watched.failures] == [("crashed", "signal SIGKILL")]


def test_one_that_fails_every_time_is_given_up(watch: Watch) -> None:
    watched = watch(scripted("stillborn"))
    for _ in range(3):
        with pytest.raises(BackEndError, match="no model here"):
            watched.host.start()
    with pytest.raises(BackEndError, match="off: it failed 3 times in a row"):
        watched.host.start()
    assert watched.host.health() == Health("off", 3, 0, 2)
    assert [failure.restarted for failure in watched.failures] == [True, True, False]


def test_a_refusal_is_no_failure(watch: Watch) -> None:
    watched = watch(scripted())
    with pytest.raises(BackEndError, match="it does not speak 'tlh'"):
        watched.speak("abc", language="tlh")
    assert watched.speak("abc") == ["a", "b", "c"]
    assert watched.failures == []


def test_cancelling_from_another_thread_frees_one_that_waits(watch: Watch) -> None:
    watched = watch(scripted())
    parts = watched.host.exchange("speak", 7, text="HANG abcdef", language="en")
    assert [next(parts).fields["start"], next(parts).fields["start"]] == [0, 800]
    canceller = threading.Thread(target=watched.host.cancel, args=(7,))
    canceller.start()
    assert list(parts) == []
    canceller.join()
    assert watched.failures == []


def test_cancelling_frees_one_that_waits_for_the_start(watch: Watch) -> None:
    watched = watch(scripted("slow"))
    freed = threading.Event()

    def cancel_until_freed() -> None:
        while not freed.wait(0.01):
            watched.host.cancel(7)

    canceller = threading.Thread(target=cancel_until_freed)
    canceller.start()
    assert watched.speak("abc", clause_id=7) == []
    freed.set()
    canceller.join()
    assert watched.host.health() == Health("starting", 0, 0, 0)
    assert watched.failures == []


def test_cancelling_another_clause_changes_nothing(watch: Watch) -> None:
    watched = watch(scripted())
    watched.host.cancel(3)
    parts = watched.host.exchange("speak", 7, text="abc", language="en")
    next(parts)
    watched.host.cancel(3)
    assert len(list(parts)) == 2


def test_what_was_left_of_an_abandoned_answer_does_not_reach_the_next(watch: Watch) -> None:
    watched = watch(scripted())
    # A hundred chunks are more than the pipe holds: the program is in the middle of writing.
    parts = watched.host.exchange("speak", 1, text="x" * 100, language="en")
    next(parts)
    parts.close()
    assert watched.speak("abc", clause_id=2) == ["a", "b", "c"]


def test_an_answer_that_is_not_read_to_its_end_gives_way_to_the_next(watch: Watch) -> None:
    watched = watch(scripted())
    first = watched.host.exchange("speak", 1, text="x" * 100, language="en")
    next(first)
    assert watched.speak("abc", clause_id=2) == ["a", "b", "c"]
    assert list(first) == []


def test_closing_ends_the_process_and_what_it_started(watch: Watch) -> None:
    before = _children()
    watched = watch(scripted())
    (message,) = list(watched.host.exchange("child", 1))
    grandchild = os.pidfd_open(message.fields["pid"])
    watched.host.close()
    watched.host.close()
    assert _children() == before
    # A process' descriptor becomes readable when it ends; the kill has been sent, and nobody here can collect it.
    assert select.select([grandchild], [], [], 30)[0] == [grandchild]
    os.close(grandchild)
    with pytest.raises(BackEndError, match="closed"):
        watched.host.start()


def test_the_process_ends_by_itself_when_the_engine_is_gone() -> None:
    """Nobody closes the host of an engine that was killed: the end of its pipe must do."""
    read, write = os.pipe()
    pid = os.posix_spawn(
        scripted().command[0],
        list(scripted().command),
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_CLOSE, write)],
    )
    os.close(read)
    os.close(write)
    assert os.waitpid(pid, 0)[1] == 0

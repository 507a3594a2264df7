"""Runs a back end as a program of its own: starts it, watches its deadline, kills it when it hangs, starts it again.

A crash in a library, or a program whose licence must not be mixed with ours, stays in that process. Everything but
`cancel` and `health` belongs on one thread. No thread is started here: whoever waits for an answer also watches.
"""

import contextlib
import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from stream.clock import Clock
from stream.errors import BackEndError, ConfigError
from stream.frames import NS_PER_MS, NS_PER_S
from stream.speech.wire import Message, Unpacker, WireError, pack

_READ_BYTES = 1 << 16
_LAST_WORDS_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Program:
    """A back end's program and how long it may take.

    Attributes:
        name: In messages and figures.
        command: The program and its arguments.
        remedy: What to do when it, or something that it needs, is not installed.
        start_ms: From its start until it is ready.
        answer_ms: From a request, or one part of an answer, to the next part.
        patience: After so many failures without a success between, it is not started again.
    """

    name: str
    command: tuple[str, ...]
    remedy: str
    start_ms: int = 10_000
    answer_ms: int = 2_000
    patience: int = 3


Reason = Literal["crashed", "hung", "garbled"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A back end's process failed and was ended.

    Attributes:
        at_ns: Clock time.
        detail: Exit status and last words of a crash, the deadline that a hang missed.
        count: How many failures this makes.
        restarted: A new process was started; False when it is given up.
    """

    name: str
    reason: Reason
    detail: str
    at_ns: int
    count: int
    restarted: bool


@dataclass(frozen=True, slots=True)
class Health:
    """State of a back end; "off" is given up."""

    state: Literal["stopped", "starting", "running", "off"]
    crashes: int
    hangs: int
    restarts: int


@dataclass(slots=True)
class _Exchange:
    request: int
    clause_id: int
    cancelled: bool = False


class Host:
    """One back end's process.

    Args:
        program: What to run.
        clock: Measures the deadlines.
        on_failure: Told of every crash and hang, on the thread that waits for the answer.
    """

    def __init__(self, program: Program, clock: Clock, on_failure: Callable[[Failure], None] | None = None) -> None:
        self._program = program
        self._clock = clock
        self._on_failure = on_failure
        self._process: _Process | None = None
        self._ready: Message | None = None
        self._request = 0
        self._exchange: _Exchange | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._failures: dict[Reason, int] = {"crashed": 0, "hung": 0, "garbled": 0}
        self._in_a_row = 0
        self._restarts = 0
        self._closed = False

    def start(self) -> Message:
        """Start the program, unless it runs, and wait until it is ready.

        Returns:
            What it said of itself.

        Raises:
            ConfigError: It, or something that it needs, is not installed.
            BackEndError: It failed, was given up, or the host is closed.
        """
        ready = self._start(None)
        assert ready is not None  # only an exchange can be cancelled
        return ready

    def _start(self, exchange: _Exchange | None) -> Message | None:
        """See `start`; None when `exchange` was cancelled, while the program goes on getting ready."""
        if self._closed:
            raise BackEndError(f"{self._program.name} was closed; make a new one")
        if self._in_a_row >= self._program.patience:
            raise BackEndError(f"{self._program.name} is off: it failed {self._in_a_row} times in a row")
        if self._process is not None and self._process.ended():
            # It died between two requests: nothing is lost, so nobody needs to be refused.
            self._end("crashed")
        if self._process is None:
            self._process = self._spawn()
        if self._ready is None:
            self._ready = self._await_ready(self._process, exchange)
        return self._ready

    def _spawn(self) -> "_Process":
        try:
            return _Process(self._program.command, self._wake)
        except (FileNotFoundError, PermissionError) as error:
            raise self._missing(f"{self._program.command[0]} cannot be started ({error.strerror})") from None

    def _missing(self, what: str) -> ConfigError:
        return ConfigError(f"{self._program.name}: {what}. {self._program.remedy}")

    def _await_ready(self, process: "_Process", exchange: _Exchange | None) -> Message | None:
        message = self._receive(process, self._program.start_ms, None, exchange)
        if message is None or message.kind == "ready":
            return message
        self._process = None
        process.kill()
        raise self._missing(str(message.fields.get("what", message.kind)))

    def exchange(self, kind: str, clause_id: int, body: bytes = b"", **fields: Any) -> Iterator[Message]:  # noqa: ANN401
        """Send one request and give the parts of its answer as they come.

        Leaving the iterator early cancels the request, and so does the next one: a back end does one thing at a time.

        Args:
            kind: What is asked.
            clause_id: What `cancel` calls it by.
            body: Raw bytes of the request.
            **fields: Its other fields.

        Raises:
            ConfigError: The program, or something that it needs, is not installed.
            BackEndError: It crashed, hung, refused the request or was given up.
        """
        if self._exchange is not None:
            self._exchange.cancelled = True
        self._request += 1
        exchange = self._exchange = _Exchange(self._request, clause_id)
        process, answered = None, False
        try:
            if self._start(exchange) is None:
                return
            process = self._process
            assert process is not None
            self._send(process, pack({"kind": kind, "request": exchange.request, **fields}, body))
            while message := self._receive(process, self._program.answer_ms, exchange.request, exchange):
                answered = message.kind in ("done", "refused")
                if answered:
                    self._in_a_row = 0
                if message.kind == "refused":
                    raise BackEndError(f"{self._program.name}: {message.fields['reason']}")
                if answered:
                    return
                yield message
        finally:
            if self._exchange is exchange:
                self._exchange = None
            if process is not None and process is self._process and not answered:
                # Written in one piece or, to a program that reads nothing, not at all: its deadline comes next time.
                process.write(memoryview(pack({"kind": "cancel", "request": exchange.request})))

    def cancel(self, clause_id: int) -> None:
        """End the exchange about a clause: it gives nothing more. Any thread may call this; it does not wait.

        A clause that nothing is asked about at the moment is not affected.
        """
        exchange = self._exchange
        if exchange is not None and exchange.clause_id == clause_id:
            exchange.cancelled = True
            os.eventfd_write(self._wake, 1)

    def health(self) -> Health:
        """How it is; from any thread."""
        return Health(self._state(), self._failures["crashed"], self._failures["hung"], self._restarts)

    def _state(self) -> Literal["stopped", "starting", "running", "off"]:
        if self._in_a_row >= self._program.patience:
            return "off"
        if self._process is None:
            return "stopped"
        return "starting" if self._ready is None else "running"

    def close(self) -> None:
        """End the process and whatever it started; calling it twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._exchange = None
        if self._process is not None:
            self._process.kill()
            self._process = None
        os.close(self._wake)

    def _send(self, process: "_Process", data: bytes) -> None:
        """Write a request, within the deadline for an answer."""
        deadline_ns = self._clock.now_ns() + self._program.answer_ms * NS_PER_MS
        rest = memoryview(data)
        while rest := rest[process.write(rest) :]:
            self._wait(process, deadline_ns, writing=True)

    def _receive(
        self, process: "_Process", within_ms: int, request: int | None, exchange: _Exchange | None
    ) -> Message | None:
        """The next message that belongs to `request`, None being the start; None when `exchange` was cancelled."""
        deadline_ns = self._clock.now_ns() + within_ms * NS_PER_MS
        while exchange is None or not exchange.cancelled:
            while process.inbox:
                message = process.inbox.popleft()
                # Anything else belongs to an earlier request, which was cancelled.
                if message.fields.get("request") == request:
                    return message
            if process.closed:
                self._fail("crashed")
            self._wait(process, deadline_ns, writing=False)
        return None

    def _wait(self, process: "_Process", deadline_ns: int, *, writing: bool) -> None:
        left_ns = deadline_ns - self._clock.now_ns()
        if left_ns <= 0:
            self._fail("hung", "it did not answer in time")
        try:
            process.wait(left_ns / NS_PER_S, writing=writing)
        except WireError as error:
            self._fail("garbled", str(error))

    def _fail(self, reason: Reason, detail: str = "") -> NoReturn:
        raise BackEndError(f"{self._program.name} {reason}: {self._end(reason, detail)}")

    def _end(self, reason: Reason, detail: str = "") -> str:
        """Kill the process, count, start another one unless too many failed, and tell; returns the detail."""
        assert self._process is not None
        last_words = self._process.kill()
        detail = detail or last_words
        self._process, self._ready = None, None
        self._failures[reason] += 1
        self._in_a_row += 1
        restarted = self._in_a_row < self._program.patience
        if restarted:
            # Started at once, so that it loads its model while the original voice goes on.
            self._process = self._spawn()
            self._restarts += 1
        if self._on_failure is not None:
            count = sum(self._failures.values())
            self._on_failure(Failure(self._program.name, reason, detail, self._clock.now_ns(), count, restarted))
        return detail


class _Process:
    """A running program with its three pipes, none of which is ever waited for without a deadline.

    Args:
        command: What to run.
        wake: Ends a wait when it becomes readable.
    """

    def __init__(self, command: tuple[str, ...], wake: int) -> None:
        pipe = subprocess.PIPE
        # A session of its own: whatever the program starts ends with it.
        self._popen = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._stdin, self._stdout, self._stderr = self._popen.stdin, self._popen.stdout, self._popen.stderr
        os.set_blocking(self._stdin.fileno(), False)
        self._wake = wake
        self._selector = selectors.DefaultSelector()
        for readable in (self._stdout.fileno(), self._stderr.fileno(), wake):
            self._selector.register(readable, selectors.EVENT_READ)
        self._unpacker = Unpacker()
        self._said = b""
        self.inbox: deque[Message] = deque()
        self.closed = False

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        # Seen without being taken: its number, which is that of its group, stays its own until `kill`.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._popen.pid, options) is not None

    def write(self, data: memoryview) -> int:
        """Write as much as there is room for; all of it when nobody reads any more, which reading finds out."""
        try:
            return os.write(self._stdin.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)

    def wait(self, timeout_s: float, *, writing: bool) -> None:
        """Wait until something was read, there is room to write, somebody cancelled, or the time is over.

        Raises:
            WireError: The program wrote something that is no message.
        """
        if writing:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            ready = {key.fd for key, _ in self._selector.select(timeout_s)}
        finally:
            if writing:
                self._selector.unregister(self._stdin)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._stderr.fileno() in ready:
            self._read_words()
        if self._stdout.fileno() in ready:
            self._read_messages()

    def _read_messages(self) -> None:
        data = os.read(self._stdout.fileno(), _READ_BYTES)
        if not data:
            self.closed = True
            self._selector.unregister(self._stdout.fileno())
            return
        self.inbox.extend(self._unpacker.feed(data))

    def _read_words(self) -> None:
        data = os.read(self._stderr.fileno(), _READ_BYTES)
        if not data and self._stderr.fileno() in self._selector.get_map():
            self._selector.unregister(self._stderr.fileno())
        self._said = (self._said + data)[-_LAST_WORDS_BYTES:]

    def kill(self) -> str:
        """End it and whatever it started, and leave no zombie.

        Returns:
            How it ended, and the last line that it wrote to standard error.
        """
        os.killpg(self._popen.pid, signal.SIGKILL)
        status = self._popen.wait()
        os.set_blocking(self._stderr.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            self._read_words()
        self._selector.close()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        lines = self._said.decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1]}" if lines else how

"""How far a file is: a bar that redraws itself on a terminal, plain lines elsewhere."""

from typing import TextIO

from stream.clock import Clock
from stream.frames import NS_PER_S

_WIDTH = 30
_REDRAW_NS = NS_PER_S // 10
_LINE_PERCENT = 10


class ProgressLine:
    """Shows pictures done out of all.

    Args:
        stream: Where to write.
        clock: Tells the speed.
        name: What is being worked on.
        rate: Pictures in one second of media; bytes in a megabyte where bytes are counted.
        unit: What the speed is measured in.
    """

    def __init__(self, stream: TextIO, clock: Clock, name: str, rate: float, unit: str = "times real time") -> None:
        self._stream = stream
        self._clock = clock
        self._name = name
        self._rate = rate
        self._unit = unit
        self._bar = stream.isatty()
        self._start_ns = clock.now_ns()
        self._drawn_ns = 0
        self._percent = 0

    def show(self, done: int, total: int) -> None:
        """Redraw the bar ten times a second, or write a line at every tenth of the way."""
        percent = min(100, done * 100 // max(1, total))
        if self._bar:
            self._draw(done, percent)
        elif percent // _LINE_PERCENT > self._percent // _LINE_PERCENT:
            self._stream.write(f"{self._name}: {percent // _LINE_PERCENT * _LINE_PERCENT} % {self._speed(done)}\n")
            self._percent = percent

    def _draw(self, done: int, percent: int) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._drawn_ns < _REDRAW_NS and percent < 100:
            return
        self._drawn_ns = now_ns
        full = "#" * (percent * _WIDTH // 100)
        self._stream.write(f"\r{self._name} [{full:{_WIDTH}}] {percent:3d} % {self._speed(done)}\033[K")
        self._stream.flush()

    def _speed(self, done: int) -> str:
        elapsed_s = max(1e-3, (self._clock.now_ns() - self._start_ns) / NS_PER_S)
        return f"{done / self._rate / elapsed_s:.1f} {self._unit}"

    def end(self) -> None:
        """Leave the line."""
        if self._bar:
            self._stream.write("\n")
        self._stream.flush()

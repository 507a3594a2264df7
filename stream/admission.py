"""Who may come in, and who is inside: sessions by name, at most as many as the machine can hold."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stream.config import ServerConfig
from stream.health import Health
from stream.load import LoadFigures
from stream.playout import PeerLike
from stream.session import Session

log = logging.getLogger(__name__)

# Fewer pictures than these say nothing of what a session costs: two seconds of one.
_ENOUGH_PICTURES = 50


class Caller(PeerLike, Protocol):
    """A peer as signalling sees it."""

    async def answer(self, offer_sdp: str) -> str:
        """Answer an offer."""
        ...

    async def add_candidates(self, sdpfrag: str) -> None:
        """Take trickled ICE candidates."""
        ...


class Full(Exception):  # noqa: N818 - an answer, not a fault
    """There is no room for one more session; the message says why."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A session that runs, with its peer and the task that carries it."""

    name: str
    peer: Caller
    session: Session
    task: asyncio.Task[None]


def why_no_room(load: LoadFigures, config: ServerConfig) -> str | None:
    """Why the engine has no time for one more session of the average cost; None where it has."""
    if not load.sessions or load.pictures + load.filtered + load.late < _ENOUGH_PICTURES:
        return None
    if load.needed_share * (load.sessions + 1) / load.sessions > config.engine_busy_max:
        return f"the engine needs {load.needed_share:.0%} of its time, one more session would be too many"
    if load.slack_p5_ms < config.slack_min_ms:
        return f"pictures are done {load.slack_p5_ms:.0f} ms before their deadline, which leaves no room"
    return None


class Admission:
    """Starts sessions, ends them, and refuses those for which there is no room.

    Args:
        config: Capacity.
        health: Told when a session breaks down.
        load: How busy the engine is; None where nobody shares it.
    """

    def __init__(self, config: ServerConfig, health: Health, load: Callable[[], LoadFigures] | None = None) -> None:
        self._config = config
        self._health = health
        self._load = load
        self._guests: dict[str, Guest] = {}
        self._arriving = 0
        self._admitted = 0

    @property
    def sessions(self) -> int:
        """Sessions that run, those whose offer is being answered among them."""
        return len(self._guests) + self._arriving

    def find(self, name: str) -> Guest | None:
        """The running session of that name."""
        return self._guests.get(name)

    async def admit(
        self, make_peer: Callable[[], Caller], make_session: Callable[[Caller, str], Session], offer_sdp: str
    ) -> tuple[Guest, str]:
        """Answer an offer and start its session.

        Returns:
            The guest, and the SDP answer.

        Raises:
            Full: There is no room.
            OfferError: The peer cannot make sense of the offer.
        """
        self._check_room()
        self._arriving += 1
        try:
            peer = make_peer()
            answer_sdp = await self._answered(peer, offer_sdp)
            self._admitted += 1
            session = make_session(peer, f"session {self._admitted}")
            # The name lets its bearer watch and end the session, so it is not guessable and not logged.
            name = secrets.token_urlsafe(12)
            guest = self._guests[name] = Guest(name, peer, session, self._start(session, name))
        finally:
            self._arriving -= 1
        return guest, answer_sdp

    async def _answered(self, peer: Caller, offer_sdp: str) -> str:
        """The peer's answer; a peer that gives none is hung up at once."""
        answered = False
        try:
            answer_sdp = await peer.answer(offer_sdp)
            answered = True
        finally:
            if not answered:
                await peer.close()
        return answer_sdp

    def _check_room(self) -> None:
        capacity = self._config.sessions_at_most
        if self.sessions >= capacity:
            raise Full(f"all {capacity} places are taken")
        for guest in self._guests.values():
            if guest.session.strained:
                raise Full("a running session has no time to spare, one more would make it late")
        why = None if self._load is None else why_no_room(self._load(), self._config)
        if why is not None:
            raise Full(why)

    async def dismiss(self, name: str) -> None:
        """End a session and wait for its end; unknown names are fine."""
        guest = self._guests.get(name)
        if guest is not None:
            await guest.peer.close()
            await asyncio.wait([guest.task])

    async def dismiss_all(self) -> None:
        """End every session."""
        await asyncio.gather(*(self.dismiss(name) for name in list(self._guests)))

    def _start(self, session: Session, name: str) -> asyncio.Task[None]:
        """Run a session on a task of its own: one that breaks down takes no other with it."""
        task = asyncio.create_task(session.run(), name=session.name)
        task.add_done_callback(lambda ended: self._ended(ended, session, name))
        return task

    def _ended(self, task: asyncio.Task[None], session: Session, name: str) -> None:
        del self._guests[name]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s broke down", session.name, exc_info=error)
            self._health.degrade("server", session.name, repr(error))

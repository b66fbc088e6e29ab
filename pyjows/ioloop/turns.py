"""Turns: who may go on now, where not all may at once.

Owns the lines in which connections wait while another one to the same place is being made (RFC 6455 4.1). Must not
know what is waited for: a line is any hashable name, and what comes of a turn is the business of who waits.

A turn may stand in several lines, as a host with several addresses does. It comes when it is among the first in all of
them. All its places are taken at once, so whoever has waited longest is among the first everywhere: nobody waits in a
circle. Nothing is polled: a turn comes because another one is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from itertools import islice

from ..reactor import Reactor

__all__ = ['Turn', 'Turns']


class Turn:
    """A place in some lines; `Turns.wait` makes it.

    Attributes:
        has_come: whether its time came, if not that it was told yet.
    """

    __slots__ = ('_came', '_lines', '_turns', 'has_come')

    def __init__(self, turns: Turns, lines: Mapping[Hashable, int], came: Callable[[], object]) -> None:
        self._turns = turns
        self._lines = lines
        self._came: Callable[[], object] | None = came
        self.has_come = False

    def leave(self) -> None:
        """It is over, or not wanted any more; who waits behind it moves up. Doing it again does nothing."""
        if self._came is not None:
            self._came = None
            self._turns._left(self, self._lines)

    def _tell(self, reactor: Reactor) -> None:
        if self._came is not None:
            self._came()


class Turns:
    """The lines of one loop."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        # An ordered dict is a queue out of whose middle one can leave.
        self._queues: dict[Hashable, OrderedDict[Turn, None]] = {}

    def __len__(self) -> int:
        """How many lines there are in which somebody stands."""
        return len(self._queues)

    def wait(self, lines: Mapping[Hashable, int], came: Callable[[], object]) -> Turn:
        """Stand in lines, each with the number of turns that it has at a time; ``came()`` is called, from the loop.

        The turn lasts until `Turn.leave`.
        """
        turn = Turn(self, lines, came)
        for line in lines:
            self._queues.setdefault(line, OrderedDict())[turn] = None
        self._look(turn)
        return turn

    def clear(self) -> None:
        """Forget everybody, quietly."""
        self._queues.clear()

    def _look(self, turn: Turn) -> None:
        """Whether a turn has come."""
        if not turn.has_come and all(turn in islice(self._queues[line], n) for line, n in turn._lines.items()):
            turn.has_come = True
            # Not from here: where a thousand turns end as soon as they have come, each would come within the last one.
            self._reactor.next_tick(turn._tell)

    def _left(self, turn: Turn, lines: Mapping[Hashable, int]) -> None:
        for line, n in lines.items():
            queue = self._queues.get(line)
            if queue is None or turn not in queue:
                continue
            del queue[turn]
            if queue:
                for next_one in list(islice(queue, n)):
                    self._look(next_one)
            else:
                del self._queues[line]

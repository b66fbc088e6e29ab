"""Limits concurrent dials per host (RFC 6455 4.1): one connection at a time is made to one address.

Owns the queues in which dials wait for a slot. Must not know what is dialed: a queue has any hashable key, such as an
IP address, and how a dial ends is known to its caller.

A dial may need slots of several queues, as a host with several addresses does. It acquires all of them at once, when
it is among the first in every queue. Since it joins all queues at once, the dial that has waited longest is among the
first everywhere, so dials cannot wait for each other in a circle. Nothing is polled: releasing a slot hands it on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from itertools import islice

from ..reactor import Reactor

__all__ = ['DialQueue', 'Slot']


class Slot:
    """A place in some queues; `DialQueue.acquire` makes it.

    Attributes:
        is_acquired: whether it was granted, if not that its callback was called yet.
    """

    __slots__ = ('_dial_queue', '_limits', '_on_acquired', 'is_acquired')

    def __init__(
        self, dial_queue: DialQueue, limits: Mapping[Hashable, int], on_acquired: Callable[[], object]
    ) -> None:
        self._dial_queue = dial_queue
        self._limits = limits
        self._on_acquired: Callable[[], object] | None = on_acquired
        self.is_acquired = False

    def release(self) -> None:
        """The dial has ended, or is not wanted any more: the next ones move up. Doing it again does nothing."""
        if self._on_acquired is not None:
            self._on_acquired = None
            self._dial_queue._remove(self, self._limits)

    def _call(self, reactor: Reactor) -> None:
        if self._on_acquired is not None:
            self._on_acquired()


class DialQueue:
    """The queues of one loop."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        # An OrderedDict is a queue from whose middle an entry can be removed at once.
        self._queues: dict[Hashable, OrderedDict[Slot, None]] = {}

    def __len__(self) -> int:
        """How many queues are not empty."""
        return len(self._queues)

    def acquire(self, limits: Mapping[Hashable, int], on_acquired: Callable[[], object]) -> Slot:
        """Wait for a slot in each queue of `limits`, which maps keys to the number of dials allowed at a time.

        ``on_acquired()`` is called from the loop. The slot is held until `Slot.release`.
        """
        slot = Slot(self, limits, on_acquired)
        for key in limits:
            self._queues.setdefault(key, OrderedDict())[slot] = None
        self._grant(slot)
        return slot

    def clear(self) -> None:
        """Forget all slots; no callback is called."""
        self._queues.clear()

    def _grant(self, slot: Slot) -> None:
        """Grant the slot if it is among the first in all its queues."""
        if not slot.is_acquired and all(slot in islice(self._queues[key], n) for key, n in slot._limits.items()):
            slot.is_acquired = True
            # On the next tick: where a thousand slots are released as soon as they are granted, direct calls would
            # nest a thousand deep.
            self._reactor.next_tick(slot._call)

    def _remove(self, slot: Slot, limits: Mapping[Hashable, int]) -> None:
        for key, n in limits.items():
            queue = self._queues.get(key)
            if queue is None or slot not in queue:
                continue
            del queue[slot]
            if queue:
                for waiting in list(islice(queue, n)):
                    self._grant(waiting)
            else:
                del self._queues[key]

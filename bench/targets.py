"""The speed that pyjows must reach, as data. A figure that is not reached is printed as plainly as one that is."""

from dataclasses import dataclass

__all__ = ['TARGETS', 'Target']


@dataclass(frozen=True)
class Target:
    """`contestant` must reach `factor` times `reference`; without a reference, stay at or under `factor` itself.

    `by_cpu`: what counts is the CPU time of a message, not the rate, which the load tool limits too.
    """

    scenario: str
    contestant: str
    reference: str | None
    factor: float
    by_cpu: bool = False

    def measured(self, medians: dict[str, float]) -> float | None:
        """The ratio, or without a reference the figure; None where one of the two was not measured."""
        ours = medians.get(self.contestant)
        if ours is None or self.reference is None:
            return ours
        theirs = medians.get(self.reference)
        return ours / theirs if theirs else None

    def is_met(self, measured: float) -> bool:
        """Whether that is good enough."""
        return measured <= self.factor if self.reference is None else measured >= self.factor


PICOWS, FLOOR = 'picows-uvloop', 'wsecho'

TARGETS: tuple[Target, ...] = (
    Target('echo-100x32', 'pyjows-epoll', PICOWS, 1.12),
    Target('echo-100x32', 'pyjows-epoll', FLOOR, 0.90),
    Target('echo-100x32', 'pyjows-uvloop', PICOWS, 1.0),
    Target('echo-100x32', 'pyjows-pure', 'websockets-asyncio', 1.0),
    Target('echo-10x64k', 'pyjows-epoll', PICOWS, 1.10),
    Target('burst-10x32', 'pyjows-epoll', PICOWS, 15),
    Target('burst-10x256', 'pyjows-epoll', PICOWS, 15),
    Target('burst-10x32', 'pyjows-uvloop', PICOWS, 8),
    Target('burst-10x256', 'pyjows-uvloop', PICOWS, 8),
    Target('text-100x32', 'pyjows-epoll', PICOWS, 1.05),
    Target('json-100x200', 'pyjows-epoll', PICOWS, 1.0),
    Target('client-1x256', 'pyjows-epoll', PICOWS, 1.05),
    Target('client-100x256', 'pyjows-epoll', PICOWS, 1.05),
    *(
        Target(f'coroutine-{what}', 'pyjows-uvloop', peer, factor)
        for what in ('100x256', '10x256-256', 'client-100x256')
        for peer, factor in (('websockets-uvloop', 3), ('picows-websockets', 1.2))
    ),
    Target('handshakes', 'pyjows-epoll', PICOWS, 1.8),
    Target('idle', 'pyjows-epoll', None, 4),  # KiB
    Target('broadcast-1000x64', 'pyjows-epoll', 'websockets-uvloop', 2),
    Target('broadcast-1000x64', 'pyjows-epoll', PICOWS, 1.2),
    *(
        Target(f'tls-{side}-100x{size}', f'pyjows-{loop}', PICOWS, 1.1, by_cpu=True)
        for side in ('echo', 'client')
        for size in ('32', '1k', '64k')
        for loop in ('epoll', 'uvloop')
    ),
    Target('sansio-128', 'pyjows-protocol', 'websockets', 3),
    Target('sansio-64k', 'pyjows-protocol', 'websockets', 1.3),
    Target('sansio-128', 'pyjows-connection', 'wsproto', 6),
    Target('sansio-64k', 'pyjows-connection', 'wsproto', 8),
    Target('sansio-128', 'pyjows-protocol-pure', 'wsproto', 1.0),
    Target('sansio-128', 'pyjows-connection-pure', 'wsproto', 1.0),
    Target('sansio-64k', 'pyjows-protocol-pure', 'wsproto', 1.0),
    Target('sansio-64k', 'pyjows-connection-pure', 'wsproto', 1.0),
    Target('asgi-100x32', 'uvicorn-pyjows', 'uvicorn-websockets', 1.0),
    Target('asgi-100x32', 'uvicorn-pyjows', 'uvicorn-wsproto', 1.0),
)

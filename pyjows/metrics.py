"""Prometheus metrics of a server (extra ``metrics``: prometheus-client).

Owns the names of the metrics and their text. Must not know how things are counted: each scrape takes a snapshot,
`Server.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .http11 import Response

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ['Collector', 'response']

_GAUGES = {
    'connections': 'WebSockets that are open, opening or closing',
    'pending': 'Connections in the middle of an HTTP request or answer',
    'bytes_waiting': 'Bytes that wait to be written',
    'paused': 'Connections that are not read now',
}
_COUNTERS = {
    'connections_total': ('opened', 'WebSockets that were opened'),
    'accepting_paused': ('accepting_paused', 'Times that accepting paused, at max_connections or without descriptors'),
    'messages_received': ('messages_received', 'Messages received'),
    'messages_sent': ('messages_sent', 'Messages sent'),
    'bytes_received': ('bytes_received', 'Payload bytes received'),
    'bytes_sent': ('bytes_sent', 'Payload bytes sent'),
}
_BY_LABEL = {
    'refused': ('refused', 'cause', 'Requests and connections that were refused, by status or cause'),
    'closed': ('closed', 'code', 'Connections that were closed, by the code of their finish'),
    'causes': ('ended', 'cause', 'Connections that this side ended, by cause'),
}


class Collector:
    """A collector for prometheus_client: the statistics of a server.

    ::

        prometheus_client.REGISTRY.register(pyjows.metrics.Collector(server))

    Args:
        server: has a method `statistics`, as `Server` does.
        prefix: of the names of all metrics.

    Raises:
        ImportError: prometheus_client is not installed.
    """

    def __init__(self, server: Any, prefix: str = 'pyjows') -> None:
        try:
            from prometheus_client import core
        except ImportError as exc:
            raise ImportError('metrics need prometheus_client: pip install pyjows[metrics]') from exc
        self._core = core
        self._server = server
        self._prefix = prefix

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are now."""
        core, prefix = self._core, self._prefix
        found = self._server.statistics()
        for name, text in _GAUGES.items():
            yield core.GaugeMetricFamily(f'{prefix}_{name}', text, getattr(found, name))
        for field, (name, text) in _COUNTERS.items():
            yield core.CounterMetricFamily(f'{prefix}_{name}', text, getattr(found, field))
        for field, (name, label, text) in _BY_LABEL.items():
            family = core.CounterMetricFamily(f'{prefix}_{name}', text, labels=[label])
            for value, number in getattr(found, field).items():
                family.add_metric([str(value)], number)
            yield family


def response(server: Any, prefix: str = 'pyjows') -> Response:
    """The metrics of a server as Prometheus text: the answer to ``GET /metrics``.

    Raises:
        ImportError: prometheus_client is not installed.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    registry = CollectorRegistry()
    registry.register(Collector(server, prefix))
    return Response(200, {'Content-Type': CONTENT_TYPE_LATEST}, generate_latest(registry))

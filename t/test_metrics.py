"""Prometheus metrics of a server, on every reactor."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from wire import TEXT, asked, close, frame

from pyjows import metrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_the_statistics_as_prometheus_text(ioloop, server, ask, run_until):
    server.on('request', lambda server, req: metrics.response(server))

    @server.on
    def websocket(server, ws):
        if ws.req.path == '/no':
            ws.reject(403)
        ws.on('text', lambda ws, text: ws.send(text=text * 2))

    ask(server, asked() + frame(TEXT, b'abc') + close(1000))
    ask(server, asked('GET /no HTTP/1.1'))
    run_until(ioloop, lambda: not server.connections)
    answer = ask(server, b'GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n').decode()
    head, _, text = answer.partition('\r\n\r\n')
    assert re.search(r'\r\nContent-Type: text/plain; version=\S+; charset=utf-8', head)
    found = samples(text)
    assert found['pyjows_connections',] == 0
    assert found['pyjows_opened_total',] == 1
    assert found['pyjows_messages_received_total',] == found['pyjows_messages_sent_total',] == 1
    assert (found['pyjows_bytes_received_total',], found['pyjows_bytes_sent_total',]) == (3, 6)
    assert found['pyjows_refused_total', '403'] == 1
    assert found['pyjows_closed_total', '1000'] == 1
    assert found['pyjows_pending',] == 1


def test_a_registry_of_the_program_may_have_them_too(server):
    registry = CollectorRegistry()
    registry.register(metrics.Collector(server, 'chat'))
    assert registry.get_sample_value('chat_connections') == 0

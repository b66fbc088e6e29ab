"""A pytest plugin for the gate: a test that would be skipped fails instead.

A skipped test is a test that nobody ran. Where everything was installed on purpose, one that cannot find its browser,
its peer or its platform means that something is broken. What a build or a reactor
lacks by its nature (interpreted there is no native reactor, `poll` runs no coroutines, asyncio has no loop within a
loop), and what no package can give (IPv6), may be skipped: those reasons have one of the words below in them.
"""

import re

import pytest

ALLOWED = re.compile(r'\b(asyncio (has|loops)|compiled|coroutines|interpreted|IPv6)\b')


def strict(report):
    if not report.skipped or hasattr(report, 'wasxfail'):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not ALLOWED.search(reason):
        report.outcome = 'failed'
        report.longrepr = f'{report.nodeid}: would be skipped, and nothing may be skipped here ({reason})'


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    strict(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    report = yield
    strict(report)
    return report

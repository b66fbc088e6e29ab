"""pyjows against the Autobahn test suite: 517 cases for a server, the same 517 for a client.

    t/autobahn/install.sh                  # once: wstest, under Python 2.7
    python -m t.autobahn                   # from the checkout's root: all faces, roles, reactors and builds there are

`suite.py` drives `wstest`, `server.py` and `client.py` are what it tests, `__main__.py` is the command and its table.
The faces without I/O are tested as the programs `examples/sans_io_frames_server.py` and
`examples/sans_io_events_server.py`, and as the clients in `faces.py`.
What is tested is the pyjows that is installed, or, where none is, the one of the checkout.
"""

from t.installed import prefer_installed

prefer_installed()

FACES = ('transaction', 'frames', 'events')
BUILDS = ('compiled', 'interpreted')
REACTORS = ('epoll', 'poll', 'asyncio', 'uvloop')

#: The exit code of a process under test that cannot be what it was asked to be.
SKIPPED = 77

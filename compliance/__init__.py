"""pyjows against the Autobahn test suite: 517 cases for a server, the same 517 for a client.

    compliance/install.sh                  # once: wstest, under Python 2.7
    python -m compliance                   # from the checkout's root: both roles, every reactor, every build there is

`suite.py` drives `wstest`, `server.py` and `client.py` are what it tests, `__main__.py` is the command and its table.
What is tested is the pyjows that is installed, or, where none is, the one of the checkout.
"""

BUILDS = ('compiled', 'interpreted')
REACTORS = ('epoll', 'poll', 'asyncio', 'uvloop')

#: The exit code of a process under test that cannot be what it was asked to be.
SKIPPED = 77

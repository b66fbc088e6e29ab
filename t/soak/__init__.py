"""pyjows in bad company, for minutes at a time: too slow for the tests, run by hand and before a release.

    python -m t.soak hostile --seconds 60      # peers that stop reading, trickle, reset, flood and send bombs
    python -m t.soak handlers --seconds 600    # handlers that raise, close, subscribe, and send from threads
    python -m t.soak reload                    # 10,000 clients while all workers of a prefork server are replaced

`hostile.py` measures well-behaved clients (`crowd.py`) beside misbehaving ones (`offenders.py`) on one server
(`chat.py`). `handlers.py` is one process whose handlers do what handlers should not. `reload.py` compares what both
sides have sent and received while a server (`counted.py`) restarts. All exit with 1 when something that must hold did
not. What is tested is the pyjows that is installed.
"""

from t.installed import prefer_installed

prefer_installed()

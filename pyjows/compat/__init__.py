"""The sans-I/O classes under the names of other libraries: `wsproto.py` and `websockets.py`.

Owns which name is which class. Must not hold behaviour.
"""

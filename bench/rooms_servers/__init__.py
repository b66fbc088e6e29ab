"""The contestants of `python -m bench.rooms`: each a server whose clients join a room and talk in it."""

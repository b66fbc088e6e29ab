"""Runs a program that imports simple_websocket, unchanged, with `pyjows.simple` in its place.

python -m pyjows.simple app.py arguments…
python -m pyjows.simple -m flask run
"""

import runpy
import sys
from pathlib import Path

from pyjows.simple import install


def main() -> None:
    """Run the program that the arguments name."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0] == '-m' and len(arguments) < 2):
        raise SystemExit(__doc__)
    install()
    if arguments[0] == '-m':
        sys.argv = arguments[1:]
        sys.path.insert(0, '')
        runpy.run_module(arguments[1], run_name='__main__', alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name='__main__')


if __name__ == '__main__':
    main()

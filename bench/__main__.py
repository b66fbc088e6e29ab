"""The command: `python -m bench`. It checks that all is installed that it needs, then runs `command.py`."""

import sys

from t.installed import require, require_compiled


def main() -> int:
    """Refuse, or measure."""
    require('bench', 'bench', 'rich')
    require_compiled('bench', 'bench')
    from bench.command import main

    return main()


if __name__ == '__main__':
    sys.exit(main())

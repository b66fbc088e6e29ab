"""The command: run one of the soaks, and exit with 0 when all that must hold did."""

from __future__ import annotations

import argparse
import sys

from t.installed import require, require_compiled

require('t.soak', 'test')
require_compiled('t.soak', 'test')

from t.soak import handlers, hostile, reload  # noqa: E402

KINDS = {'hostile': hostile, 'handlers': handlers, 'reload': reload}


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m t.soak', description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    for name, module in KINDS.items():
        module.add_arguments(kinds.add_parser(name, description=module.__doc__))
    options = parser.parse_args()
    return KINDS[options.kind].run(options)


sys.exit(main())

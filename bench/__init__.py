"""The benchmark suite: `python -m bench`. It measures pyjows beside its peers, all in one run.

What is measured is the installed pyjows, or the one that `PYTHONPATH` names; that of this clone only where none is
installed.
"""

from t.installed import prefer_installed

prefer_installed()

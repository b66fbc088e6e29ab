"""The benchmark suite: `python -m bench`. It measures pyjows beside its peers, all in one run."""

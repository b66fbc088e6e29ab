"""One small server for each contestant. Each takes `--mode` and prints `port=N` once it listens."""

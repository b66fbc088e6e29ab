"""One small client for each contestant. Each sends a message for every one that comes back, and counts."""

"""Atomicity: staging, journal, publishing, recovery, ledger. Knows no step by name."""

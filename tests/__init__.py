"""Tests; `conftest.py` makes a host for each."""

"""Tests of looking at files, and of changing them."""

"""Tests of what authors of releases use."""

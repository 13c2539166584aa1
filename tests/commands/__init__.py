"""The verbs, on real host folders."""

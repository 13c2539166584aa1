"""The engine's parts."""

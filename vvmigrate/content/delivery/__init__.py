"""Delivery: an artefact from whichever source has it, resumed, hashed, and unpacked without trusting a byte of it."""

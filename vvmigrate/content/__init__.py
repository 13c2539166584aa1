"""Formats and transfers: `.env`, the model manifest, downloads, archives, signatures. Knows no step."""

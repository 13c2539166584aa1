"""`.env` files: reading every byte of them, the release's template, merging by key, and taking a merge back."""

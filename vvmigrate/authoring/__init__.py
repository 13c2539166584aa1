"""What the author of a release needs, in a bare checkout: revisions written, and what is wrong with them."""

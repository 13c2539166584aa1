"""What the author of a release needs, in a bare checkout: what is wrong with its revisions, and what they leave out."""

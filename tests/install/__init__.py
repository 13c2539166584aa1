"""install.sh, tried as a new user would."""

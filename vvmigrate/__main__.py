"""`python -m vvmigrate`."""

from vvmigrate.cli import main

main()

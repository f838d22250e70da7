"""`python -m hpcdl` is the command `hpcdl`."""

from hpcdl.cli.app import main

main()

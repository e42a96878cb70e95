"""`python -m bench.cli`: the command line without an installed script."""

from bench.cli.app import main

main()

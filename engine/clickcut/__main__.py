"""`python -m clickcut`."""

from clickcut.cli import main

main()

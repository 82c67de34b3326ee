"""Sub-commands of the command line that are applications of their own."""

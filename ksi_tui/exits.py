"""The exit codes. Leaf module: every command and the command line read them here."""

OK = 0
SOME_FAILED = 1
BAD_USAGE = 2
OWNED = 3
UNEXPECTED = 70
"""A fault of this program; not in the table, since nobody should ever see it."""
INTERRUPTED = 130

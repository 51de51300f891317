"""Kills the real command again and again and looks at what it left: `python -m tests.crash`."""

"""ksi-tui: a terminal control room for LLM completions.

Holds the version and nothing else, so that importing the package costs nothing.
"""

__version__ = "0.1.0"

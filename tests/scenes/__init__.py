"""The three scenes that the dashboard is for, played with keys only: `python -m tests.scenes`."""

"""Tests of the dashboard: what a user presses, and what is then on the screen."""

"""Reusable parts of the dashboard: typed data in, messages out; no store, no screen."""

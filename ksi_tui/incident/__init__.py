"""Incident bundles: what the screen was fed, in one file, to be looked at later and elsewhere."""

"""Providers: everything that answers a completion, behind the one seam of `base`."""

"""The store: everything that must outlive the process, behind the one seam of `base`."""

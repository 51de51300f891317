"""Finding requests by a filter, over what is on disk and what is in memory, as one answer."""

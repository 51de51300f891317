"""Random input at every edge: for a bounded time with each run, for longer by `KSI_EXAMPLES`."""

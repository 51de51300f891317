"""The thin commands: one question or action each, on an engine that runs, by its socket."""

"""schemathesis against a real `serve`; `make fuzz-http` runs it, no test does."""

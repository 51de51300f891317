"""The local door: an engine's events, snapshots and notifications over HTTP on a Unix socket.

It serves whatever `EngineClient` it is given, and knows neither screens nor the store. What
only a network needs (tokens, limits by caller, the check of hosts) does not go here.
"""

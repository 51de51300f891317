"""The engine of another process as an `EngineClient`, over the socket of its door.

Whoever imports a module of it that talks (`wire` and what is above) imports aiohttp: 150 ms, so
a dashboard does it behind its first frame, in a thread. No screen and no widget goes in here.
"""

"""The OpenAI-compatible gateway: chat completions over HTTP, carried by an `EngineClient`.

`routing.routes` is mounted on an aiohttp application by whoever listens; nothing in here
listens, and only `routing`, `serving` and `sink` import aiohttp. Translation (`asked`, `terms`,
`answers`, `story`, `faults`) is pure. No policy is here: order, retries and limits are the
engine's.
"""

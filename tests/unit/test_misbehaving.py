"""The server that misbehaves on purpose counts right whom it still answers."""

from __future__ import annotations

import asyncio

from tests.servers.misbehaving import MisbehavingServer

ASKED = (
    b"POST /endless/v1/chat/completions HTTP/1.1\r\nHost: up\r\nContent-Length: 16\r\n\r\n"
    b'{"stream": true}'
)


async def test_who_leaves_before_the_answer_begins_is_answered_no_more() -> None:
    async with asyncio.timeout(20), MisbehavingServer() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with server._changed:  # so that the answer cannot begin
            writer.write(ASKED)
            while not server.requests:  # noqa: ASYNC110 - what tells of it is held
                await asyncio.sleep(0)
            writer.close()
            while server.open:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0)
        (seen,) = server.requests
        assert (seen.closed, seen.sent) == (True, 0)

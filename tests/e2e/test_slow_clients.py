"""Normal service beside slow clients; a thousand for minutes by hand: tests/slow_clients."""
import asyncio
import time

import pytest

import slow
import trend
from pensieve import TOKEN, eventually, headers_for, user
from wire import Client

pytestmark = pytest.mark.alone


def test_beside_a_hundred_slow_clients_everybody_else_is_served(start, tell):
    server = start("--kv-disk", "off")
    files = server.open_files()
    ends, times = slow.Ends(), []

    async def service(until):
        n = 0
        while time.monotonic() < until:
            begin = time.monotonic()
            answer = await Client(server.port).ask("GET", "/health", headers=headers_for(TOKEN))
            assert answer.status == 200
            times.append(time.monotonic() - begin)
            if n % 10 == 0:
                answer = await Client(server.port).ask("POST", "/v1/messages", user("hello", max_tokens=4), headers_for(TOKEN))
                assert answer.status == 200, answer.body
            n += 1
            await asyncio.sleep(0.02)

    async def both():
        until = time.monotonic() + 3
        clients = [asyncio.create_task(c.live(until)) for c in slow.crowd(server.port, 100, ends, 1)]
        await asyncio.sleep(0.5)
        assert sum(ends.open.values()) == 100
        await service(until)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    asyncio.run(both())
    tell("%d times /health beside 100 slow clients: p50 %.1f ms, p99 %.1f ms", len(times), 1000 * trend.percentile(times, 50),
         1000 * trend.percentile(times, 99))
    assert not ends.counts, "nobody is ended within three seconds: %s" % ends.counts
    assert trend.percentile(times, 50) < 0.5
    eventually(lambda: server.open_files() == files, 30, "the descriptors of before")
    server.stop()

"""WebSocket with the `websockets` library: `server` prints its port and serves, `client URL ADDRESS CA` talks to it."""

import asyncio
import ssl
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def server():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["echo"]) as serving:
        print(serving.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def client(url, address, ca):
    host, port = address.rsplit(":", 1)
    trust = ssl.create_default_context(cafile=ca)
    trust.set_alpn_protocols(["http/1.1"])
    async with websockets.connect(
        url, host=host, port=int(port), ssl=trust, max_size=None, subprotocols=["echo"]
    ) as socket:
        assert socket.subprotocol == "echo", socket.subprotocol
        for message in ["hello", b"\x00\x01", "ä" * 100_000, b"x" * 3_000_000, ""]:
            await socket.send(message)
            assert await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), 10)
    assert socket.close_code == 1000, socket.close_code
    print("all is well")


if __name__ == "__main__":
    asyncio.run({"server": server, "client": client}[sys.argv[1]](*sys.argv[2:]))

"""gRPC with Google's library: `server` prints its port and serves, `client ADDRESS CA HOST` calls it."""

import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "test.Echo"
cancelled = threading.Event()


def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("x-detail", "trailers only"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    if request == b"deadline":
        return str(context.time_remaining()).encode()
    if request == b"cancelled":
        return b"yes" if cancelled.wait(5) else b"no"
    context.set_trailing_metadata((("x-seen", "unary"),))
    return request


def collect(requests, context):
    return b"".join(requests)


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def echo(requests, context):
    for request in requests:
        yield request


def forever(request, context):
    context.add_callback(cancelled.set)
    while context.is_active():
        yield b"tick"
        time.sleep(0.02)


def server():
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Forever": grpc.unary_stream_rpc_method_handler(forever),
    }
    serving = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    print(port, flush=True)
    serving.wait_for_termination()


def client(address, ca, host):
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    channel = grpc.secure_channel(address, credentials, (("grpc.ssl_target_name_override", host),))
    call = lambda kind, name: getattr(channel, kind)(f"/{SERVICE}/{name}")

    one = call("unary_unary", "Unary")
    answer, done = one.with_call(b"hello", timeout=20)
    assert answer == b"hello", answer
    assert ("x-seen", "unary") in [tuple(pair) for pair in done.trailing_metadata()], done.trailing_metadata()
    assert len(one(b"x" * 3_000_000, timeout=20)) == 3_000_000

    try:
        one(b"fail", timeout=20)
        raise AssertionError("it does not fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "as asked", error
        assert ("x-detail", "trailers only") in [tuple(pair) for pair in error.trailing_metadata()]

    remaining = float(one(b"deadline", timeout=10))
    # gRPC rounds the deadline up.
    assert 5 < remaining < 11, remaining

    parts = [str(number).encode() * 1000 for number in range(100)]
    assert call("stream_unary", "Collect")(iter(parts), timeout=20) == b"".join(parts)
    assert list(call("unary_stream", "Count")(b"1000", timeout=20)) == [str(n).encode() for n in range(1000)]

    # Each message is sent only after the previous one has returned: the proxy must not buffer.
    turn = threading.Semaphore(1)
    def ping_pong():
        for number in range(200):
            turn.acquire()
            yield str(number).encode()
    came = []
    for message in call("stream_stream", "Echo")(ping_pong(), timeout=20):
        came.append(message)
        turn.release()
    assert came == [str(number).encode() for number in range(200)], len(came)

    stream = call("unary_stream", "Forever")(b"", timeout=20)
    assert next(stream) == b"tick"
    stream.cancel()
    assert one(b"cancelled", timeout=20) == b"yes", "the server does not notice"
    print("all is well")


def failing(address, ca, host):
    """Calls services that the proxy cannot reach."""
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    channel = grpc.secure_channel(address, credentials, (("grpc.ssl_target_name_override", host),))
    for service, status, says in [
        ("down", grpc.StatusCode.UNAVAILABLE, "502 Bad Gateway, request id "),
        ("slow", grpc.StatusCode.DEADLINE_EXCEEDED, "504 Gateway Timeout, request id "),
        ("none", grpc.StatusCode.UNIMPLEMENTED, "404 Not Found, request id "),
    ]:
        for kind, request in [("unary_unary", b"hello"), ("stream_stream", iter([b"hello"] * 3))]:
            try:
                answer = getattr(channel, kind)(f"/{service}.Echo/Call")(request, timeout=20)
                list(answer)
                raise AssertionError(f"{service} does not fail")
            except grpc.RpcError as error:
                assert error.code() == status, (service, kind, error)
                assert error.details().startswith(says), (service, kind, error.details())
                given = dict(error.trailing_metadata())["x-request-id"]
                assert error.details().endswith(given), (given, error.details())
    print("all is well")


if __name__ == "__main__":
    {"server": server, "client": client, "failing": failing}[sys.argv[1]](*sys.argv[2:])

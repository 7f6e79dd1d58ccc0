"""An open-loop load: a fixed rate, and times measured from when each request was due.

So an answer that delays others counts for them too, as it would with users. Delays of the generator itself
are included, and reported separately.
"""

import collections
import gc
import math
import select
import ssl
import time

import client
from fixture import HOST

Times = collections.namedtuple("Times", "took late")


class Line:
    """A persistent connection with at most one request in flight."""

    def __init__(self, port, path):
        self.stream = client.Http1(port).stream
        self.stream.settimeout(0)
        self.request = f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: icpgate-loadtest\r\n\r\n".encode()
        self.received = b""

    def ask(self, due):
        self.due, self.received = due, b""
        self.stream.send(self.request)

    def answered(self):
        """Reads available bytes; whether the answer is complete."""
        try:
            while some := self.stream.recv(1 << 16):
                self.received += some
                head, found, body = self.received.partition(b"\r\n\r\n")
                if not found:
                    continue
                if not head.startswith(b"HTTP/1.1 200"):
                    raise client.Unexpected(head)
                if len(body) >= int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
                    return True
            raise client.Unexpected("the end of the connection")
        except ssl.SSLWantReadError:
            return False


def run(port, path, rate, seconds, warm_up=0.5, lines=64, each_second=None):
    """Sends `rate` requests per second; the times in milliseconds of those due after the warm-up."""
    free = [Line(port, path) for _ in range(lines)]
    busy, times, waiting = {}, Times([], []), collections.deque()
    gc.disable()
    try:
        begin = time.perf_counter()
        first, last, second = begin + warm_up, begin + warm_up + seconds, begin + warm_up
        sent = 0
        while busy or waiting or begin + sent / rate < last:
            now = time.perf_counter()
            if each_second and now >= second and now < last:
                each_second()
                second += 1
            while (due := begin + sent / rate) <= now and due < last:
                waiting.append(due)
                sent += 1
            while waiting and free:
                line = free.pop()
                due = waiting.popleft()
                line.ask(due)
                busy[line.stream] = line
                if due >= first:
                    times.late.append((time.perf_counter() - due) * 1000)
            pause = max(0, begin + sent / rate - time.perf_counter()) if begin + sent / rate < last else 1
            for stream in select.select(list(busy), [], [], pause)[0]:
                line = busy[stream]
                if line.answered():
                    if line.due >= first:
                        times.took.append((time.perf_counter() - line.due) * 1000)
                    free.append(busy.pop(stream))
            if now > last + 10:
                raise client.Unexpected(f"{len(busy)} answers did not come")
    finally:
        gc.enable()
    for line in free:
        line.stream.close()
    return times


def percentile(times, share):
    """The quantile `share` of `times`."""
    ranked = sorted(times)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)]

#!/usr/bin/env python3
"""Peers that mean harm, against the streams service: raw frames of HTTP/2, bombs, floods, slow ones.

hostile_rpc.py STREAMS-PROGRAM

What they hold up must come back: calls in flight 0, descriptors as before, SIGTERM ends it with 0.
Slow ones take the server's 10 s to be cut off; everything else goes on meanwhile. WEIR_TEST_SEED
chooses what the random peers do, WEIR_TEST_LONG has them do it for longer.
"""
import gzip
import http.client
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32
PROTOCOL_ERROR, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, CALM = 1, 3, 5, 6, 11
STREAMS, ORDERS = "/streams.v1.Streams/", "/orders.v1.Orders/"
PATIENCE = 30


# ---- What is sent ----

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack_int(n):
    if n < 127:
        return bytes([n])
    n -= 127
    out = bytearray([127])
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(name, value, kind=0):
    name, value = name.encode(), value.encode()
    return bytes([kind]) + hpack_int(len(name)) + name + hpack_int(len(value)) + value


def head(path, more=(), content="application/grpc"):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
              ("content-type", content), ("te", "trailers"), *more]
    return b"".join(field(*f) for f in fields)


def envelope(message, flags=0):
    return bytes([flags]) + struct.pack(">I", len(message)) + message


def varint(n):
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def proto(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def reset(stream, code=8):
    return frame(RST, 0, stream, struct.pack(">I", code))


def setting(name, value):
    return struct.pack(">HI", name, value)


ORDER = (proto(1, b"A-1") + varint(2 << 3 | 1) + struct.pack("<d", 2) + proto(3, b"EUR"))


# ---- Who sends it ----

class Service:
    def __init__(self, program):
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--test", "--loops", "1"],
            stdout=subprocess.PIPE)
        ports = re.findall(rb":(\d+)", self.process.stdout.readline())
        self.port, self.admin = int(ports[0]), int(ports[1])

    def in_flight(self):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        c.request("GET", "/metrics", headers={"Connection": "close"})
        text = c.getresponse().read().decode()
        c.close()
        lines = re.findall(r"^weir_rpc_server_calls_in_flight\{.*\} (\S+)$", text, re.M)
        lines = lines or [l.split()[-1] for l in text.split("\n")
                          if re.match(r"weir_rpc\w*in_flight\w*\{.*method=", l)]
        assert lines, "the metrics do not tell of calls in flight"
        return sum(float(n) for n in lines)

    def descriptors(self):
        """Of connections to its port: what is pooled inside it, to its own pricing, is its own."""
        port = "%04X" % self.port
        with open("/proc/%d/net/tcp" % self.process.pid) as table:
            return sum(1 for l in table if l.split()[1].endswith(":" + port) and l.split()[3] in ("01", "08"))

    def settle(self, connections=False):
        end = time.monotonic() + PATIENCE
        while self.in_flight() > 0 or (connections and self.descriptors() > 0):
            assert time.monotonic() < end, (self.in_flight(), self.descriptors())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class Peer:
    def __init__(self, service, settings=b"", preface=PREFACE):
        self.socket = socket.create_connection(("127.0.0.1", service.port))
        self.socket.settimeout(PATIENCE)
        self.held, self.stream, self.closed = b"", -1, False
        self.send(preface + (frame(SETTINGS, 0, 0, settings) if preface == PREFACE else b""))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def next(self):
        self.stream += 2
        return self.stream

    def open(self, path, more=()):
        stream = self.next()
        self.send(frame(HEADERS, END_HEADERS, stream, head(path, more)))
        return stream

    def call(self, path, message, more=()):
        stream = self.next()
        self.send(frame(HEADERS, END_HEADERS, stream, head(path, more)) +
                  frame(DATA, END_STREAM, stream, envelope(message)))
        return stream

    def read(self):
        """A frame (type, flags, stream, payload), or None at the end."""
        while len(self.held) < 9 or len(self.held) < 9 + int.from_bytes(self.held[:3], "big"):
            try:
                more = self.socket.recv(1 << 18)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self.held += more
        h = self.held
        n = 9 + int.from_bytes(h[:3], "big")
        self.held = h[n:]
        if h[3] == SETTINGS and not h[4] & 1:
            self.send(frame(SETTINGS, 1, 0))
        return h[3], h[4], int.from_bytes(h[5:9], "big"), h[9:n]

    def until(self, wanted):
        frames = []
        while True:
            f = self.read()
            if f is None:
                return frames, False
            frames.append(f)
            if wanted(f):
                return frames, True

    def barrier(self):
        """All that was caused so far has come: twice, as answers to PING go ahead."""
        frames = []
        for _ in range(2):
            self.send(frame(PING, 0, 0, b"barrier."))
            some, alive = self.until(lambda f: f[0] == PING and f[1] & 1 and f[3] == b"barrier.")
            frames += some
            if not alive:
                return frames, False
        return frames, True

    def cut_off(self):
        """The code of the GOAWAY behind which the connection ended."""
        frames, _ = self.until(lambda f: False)
        self.close()
        last = [f for f in frames if f[0] == GOAWAY]
        assert last, "the connection ended without a word"
        return int.from_bytes(last[-1][3][4:8], "big")

    def goes_on(self):
        _, alive = self.barrier()
        self.close()
        return alive

    def resets(self):
        frames, alive = self.barrier()
        self.close()
        assert alive
        return [(f[2], int.from_bytes(f[3], "big")) for f in frames if f[0] == RST]

    def close(self):
        self.socket.close()


def in_rounds(service, make, rounds, each=50):
    """`make` gives what to send on a new stream; fewer at once than are refused."""
    p = Peer(service)
    for _ in range(rounds):
        p.send(b"".join(make(p.next()) for _ in range(each)))
        frames, alive = p.barrier()
        if not alive:
            p.close()
            return int.from_bytes([f for f in frames if f[0] == GOAWAY][-1][3][4:8], "big")
    p.close()
    return None


def opened(path=STREAMS + "Echo", flags=END_HEADERS):
    return lambda stream: frame(HEADERS, flags, stream, head(path))


# ---- Floods ----

def resets_are_counted(s):
    def open_and_reset(stream):
        return opened()(stream) + reset(stream)
    assert in_rounds(s, open_and_reset, 19) is None
    assert in_rounds(s, open_and_reset, 40) == CALM


def violations_are_counted(s):
    wrongs = {
        "window": lambda i: opened()(i) + frame(WINDOW, 0, i, b"\x7f\xff\xff\xff"),
        "field": lambda i: frame(HEADERS, END_HEADERS, i, head(STREAMS + "Echo") + field("UPPER", "x")),
        "length": lambda i: frame(HEADERS, END_HEADERS, i, head(STREAMS + "Echo", [("content-length", "1")])) +
                            frame(DATA, 0, i, b"xx"),
        "trailers": lambda i: opened()(i) + frame(HEADERS, END_HEADERS, i, field("a", "b")),
    }
    for name, wrong in wrongs.items():
        assert in_rounds(s, wrong, 1) is None, name
        assert in_rounds(s, wrong, 10) == CALM, name


def refusals_and_deadlines_of_ours_do_not_count(s):
    def refused(stream):
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, head("/no/such"))

    def too_late(stream):
        return frame(HEADERS, END_HEADERS | END_STREAM, stream,
                     head(STREAMS + "Process", [("grpc-timeout", "1n")]))
    assert in_rounds(s, refused, 20) is None
    assert in_rounds(s, too_late, 20) is None


def what_wants_an_answer_is_counted(s):
    for what in (frame(SETTINGS, 0, 0), frame(PING, 0, 0, b"12345678"), frame(0x77, 0, 0, b"?"),
                 frame(PRIORITY, 0, 1, struct.pack(">IB", 3, 1)), frame(WINDOW, 0, 0, b"\0\0\0\1")):
        p = Peer(s)
        p.send(what * 1500)
        assert p.cut_off() == CALM, what
    for what in (frame(DATA, 0, 1), frame(DATA, PADDED, 1, b"\3\0\0\0")):
        p = Peer(s)
        p.open(STREAMS + "Echo")
        p.send(what * 1500)
        assert p.cut_off() == CALM, what


def continuations_are_eight(s):
    for n in (8, 9, 100000):
        p = Peer(s)
        stream = p.next()
        p.send(frame(HEADERS, 0, stream, head(STREAMS + "Echo")) + frame(CONTINUATION, 0, stream) * (n - 1) +
               frame(CONTINUATION, END_HEADERS, stream))
        if n == 8:
            assert p.goes_on()
        else:
            assert p.cut_off() == CALM


def heads_have_a_limit(s):
    p = Peer(s)
    block = head(STREAMS + "Echo") + field("b", "v" * 4000, 0x40) + b"\xbe" * 12000
    p.send(frame(HEADERS, END_HEADERS, p.next(), block))
    assert p.cut_off() == CALM
    p = Peer(s)
    p.open(STREAMS + "Echo", [("k%d" % k, "v" * 100) for k in range(120)])
    frames, alive = p.barrier()
    assert alive and b"431" in b"".join(f[3] for f in frames if f[0] == HEADERS)
    p.close()


def streams_are_a_hundred(s):
    p = Peer(s)
    for _ in range(101):
        p.open(STREAMS + "Echo")
    assert p.resets() == [(201, 7)]


def windows_have_a_limit(s):
    p = Peer(s, setting(4, 0))
    stream = p.open(STREAMS + "Echo")
    p.send(b"".join(frame(DATA, 0, stream, envelope(proto(2, b"x" * 1000)) * 16) for _ in range(20)))
    assert p.resets() == [(stream, FLOW_CONTROL)]


def streams_come_in_order(s):
    p = Peer(s)
    p.stream = 3
    p.open(STREAMS + "Echo")
    p.send(opened()(3))
    assert p.cut_off() == PROTOCOL_ERROR
    for what, code in ((frame(DATA, 0, 5, b"x"), PROTOCOL_ERROR), (reset(5), PROTOCOL_ERROR),
                       (opened()(2), PROTOCOL_ERROR), (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
                       (frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"), FLOW_CONTROL),
                       (frame(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW_CONTROL),
                       (frame(DATA, 0, 1, b"x" * 16385), FRAME_SIZE)):
        p = Peer(s)
        p.send(what)
        assert p.cut_off() == code, what[:9]


def settings_change_under_queued_data(s):
    p = Peer(s, setting(4, 0))
    calls = {p.call(STREAMS + "StreamData", proto(1, 200)) for _ in range(20)}
    for k in range(60):
        p.send(frame(SETTINGS, 0, 0, setting(4, k % 2 * 0x7fffffff) + setting(1, k % 3 * 4096)))
    p.send(frame(SETTINGS, 0, 0, setting(4, 0x7fffffff)) + frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff - 65535)))
    while calls:
        f = p.read()
        assert f is not None and f[0] not in (RST, GOAWAY), f
        if f[1] & END_STREAM:
            calls.discard(f[2])
    p.close()


# ---- Calls ----

def storms_leave_nothing(s):
    for path, message in ((STREAMS + "Process", proto(2, 60000)), (ORDERS + "Submit", ORDER),
                          (ORDERS + "Watch", b""), (STREAMS + "StreamData", proto(1, 10 ** 9)),
                          (STREAMS + "Compose", proto(1, proto(2, 60000)))):
        p = Peer(s)
        for _ in range(9):
            first = p.stream + 2
            for _ in range(100):
                p.call(path, message)
            assert p.barrier()[1], path
            p.send(b"".join(reset(i) for i in range(first, p.stream + 1, 2)))
            assert p.barrier()[1], path
        for k in range(100):
            p.call(path, message, [("grpc-timeout", "%dm" % (1 + k % 9))] if k % 2 else ())
        p.close()
        s.settle()


def readers_that_never_read_hold_little(s):
    peers = [Peer(s, setting(4, k % 2 * 0x7fffffff)) for k in range(10)]
    for p in peers:
        p.send(b"".join(opened(STREAMS + "StreamData")(i) + frame(DATA, END_STREAM, i, envelope(proto(1, 10 ** 9)))
                        for i in (p.next() for _ in range(100))))
    end = time.monotonic() + PATIENCE
    while s.in_flight() < 1000:
        assert time.monotonic() < end
    for p in peers:
        p.close()
    s.settle()


def a_deadline_ends_what_nobody_takes(s):
    p = Peer(s, setting(4, 0))
    for content in ("application/grpc", "application/grpc-web", "application/connect+proto"):
        stream = p.next()
        p.send(frame(HEADERS, END_HEADERS, stream, head(STREAMS + "StreamData", [
            ("grpc-timeout", "20m"), ("connect-timeout-ms", "20")], content)) +
            frame(DATA, END_STREAM, stream, envelope(proto(1, 10 ** 9))))
    s.settle()
    assert p.goes_on()


# ---- Messages, by Connect: its errors are text ----

def connect(s, path, body, content="application/proto", more=None):
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=PATIENCE)
    c.request("POST", path, body, {"Content-Type": content, **(more or {})})
    answer = c.getresponse().read()
    c.close()
    return answer


def bombs_are_refused(s):
    measure, exhausted = "/test.v1.Bombs/Measure", b'"resource_exhausted"'
    deep = b""
    for _ in range(9000):
        deep = proto(1, deep)
    zipped = {"Content-Encoding": "gzip"}
    assert exhausted in connect(s, measure, deep)
    assert exhausted in connect(s, measure, b"\x0a\x00" * 1000000)
    assert exhausted in connect(s, measure, gzip.compress(bytes(64 << 20)), more=zipped)
    assert exhausted in connect(s, measure, gzip.compress(b"\x0a\x00" * (2 << 20)), more=zipped)
    assert exhausted in connect(s, measure, b'{"children":[' * 100000, "application/json")
    assert exhausted in connect(s, measure, b'{"children":[{}' + b",{}" * 1000000 + b"]}", "application/json")
    assert exhausted in connect(s, STREAMS + "Process", b'{"delay_ms":' + b"9" * 1000000 + b"}", "application/json")
    p = Peer(s)
    stream = p.open(STREAMS + "Process")
    p.send(frame(DATA, 0, stream, b"\0\xff\xff\xff\xff"))
    frames, alive = p.until(lambda f: f[2] == stream and (f[0] == RST or f[1] & END_STREAM))
    assert alive, frames
    p.close()


def requests_are_not_smuggled(s):
    body, chunks = b'{"text":"a"}', b'c\r\n{"text":"a"}\r\n0\r\n\r\n'
    for fields, sent in (
            (b"Content-Length: 12\r\nTransfer-Encoding: chunked", chunks), (b"Content-Length: 12, 12", body),
            (b"Content-Length: 12\r\nContent-Length: 12", body), (b"Content-Length: +12", body),
            (b"Content-Length : 12", body), (b"Content-Length:\r\n 12", body),
            (b"Content-Length: 18446744073709551628", body), (b"Transfer-Encoding: xchunked", chunks),
            (b"Transfer-Encoding: chunked, chunked", chunks), (b"Transfer-Encoding: \x0bchunked", chunks),
            (b"X: y\nTransfer-Encoding: chunked", chunks), (b"Transfer-Encoding: chunked", b"c\n" + body + b"\n0\n\n"),
            (b"Transfer-Encoding: chunked", b"0x" + chunks), (b"Host: y\r\nContent-Length: 12", body)):
        peer = socket.create_connection(("127.0.0.1", s.port))
        peer.settimeout(PATIENCE)
        peer.sendall(b"POST /streams.v1.Streams/Process HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
                     fields + b"\r\n\r\n" + sent + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while True:
            more = peer.recv(65536)
            if not more:
                break
            answer += more
        peer.close()
        assert answer.count(b"HTTP/1.1 ") == 1 and answer.split()[1] in (b"400", b"501"), (fields, answer)


# ---- Slow ones: cut off after the server's 10 s ----

def slow_peers(s):
    acked = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0)
    starts = (b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS, 0, 0), b"POST / HTTP/1.1\r\nHo",
              acked + frame(HEADERS, 0, 1, head(STREAMS + "Process")),
              acked + frame(HEADERS, END_HEADERS, 1, head(STREAMS + "Process"))[:30])
    peers = []
    for start in starts:
        peers.append(socket.create_connection(("127.0.0.1", s.port)))
        peers[-1].sendall(start)
    return peers


def slow_peers_are_cut_off(peers):
    for peer in peers:
        peer.settimeout(PATIENCE)
        try:
            while peer.recv(65536):
                pass
        except ConnectionError:
            pass
        peer.close()


# ---- Anything ----

class Anybody(Peer):
    def __init__(self, service, chance):
        super().__init__(service, setting(4, chance.choice([0, 1, 65535, 1 << 20, 0x7fffffff])))
        self.chance, self.reads = chance, chance.random() < .6

    def message(self, path):
        r = self.chance
        process = proto(1, b"x" * r.choice([0, 5, 70000])) + proto(2, r.choice([0, 1, 50, 5000])) + proto(3, r.choice([0, 0, 5]))
        return {"Process": process, "StreamData": proto(1, r.choice([0, 100, 10 ** 6])) + proto(2, r.choice([0, 1, 1 << 20])),
                "Compose": proto(1, process) + proto(2, process), "Submit": ORDER, "Watch": b""}.get(
                    path.split("/")[2], proto(1, 7) + proto(2, b"y" * r.choice([0, 10, 30000])))

    def begin(self):
        r = self.chance
        path = r.choice([STREAMS + m for m in ("Process", "StreamData", "Collect", "Echo", "Compose")] +
                        [ORDERS + "Submit", ORDERS + "Watch", "/no/such"])
        more = [("grpc-timeout", r.choice(["1n", "1m", "50m", "1S"]))] if r.random() < .4 else ()
        content = r.choice(["application/grpc"] * 3 + ["application/grpc-web", "application/connect+proto"])
        stream, body = self.next(), envelope(self.message(path))
        sent = frame(HEADERS, END_HEADERS, stream, head(path, more, content))
        while len(body) > 16000:
            sent += frame(DATA, 0, stream, body[:16000])
            body = body[16000:]
        return sent + frame(DATA, END_STREAM if r.random() < .7 else 0, stream, body)

    def step(self):
        r = self.chance
        some = max(1, self.stream - 2 * r.randrange(20)) if self.stream > 0 else 0
        what = r.choice("bbbbddrrwwwsph?xX")
        sent = {"b": self.begin, "d": lambda: frame(DATA, r.randrange(2), some, envelope(b"\x08\x01")),
                "r": lambda: reset(some), "w": lambda: frame(WINDOW, 0, r.choice([0, some]), struct.pack(">I", r.choice([1, 10000, 1 << 20]))),
                "s": lambda: frame(SETTINGS, 0, 0, setting(4, r.choice([0, 1, 65535, 1 << 20]))),
                "p": lambda: frame(PING, 0, 0, b"anything"), "h": lambda: frame(HEADERS, END_HEADERS | END_STREAM, some, field("t", "x")),
                }.get(what, lambda: b"")()
        if what == "x" and r.random() < .3:
            self.closed = True
        elif what == "X":
            self.reads = not self.reads
        elif what == "?" and r.random() < .1:
            sent = bytes(r.randrange(256) for _ in range(r.randrange(1, 40)))
        self.socket.settimeout(.2)
        self.send(sent)
        while self.reads and not self.closed and select.select([self.socket], [], [], 0)[0]:
            try:
                self.closed = not self.socket.recv(1 << 16)
            except OSError:
                self.closed = True
        if self.closed:
            self.close()


def anybody_may_do_anything(s):
    seed = int(os.environ.get("WEIR_TEST_SEED", "1"))
    end = time.monotonic() + (60 if os.environ.get("WEIR_TEST_LONG") else 4)
    chance, peers = random.Random(seed), []
    while time.monotonic() < end and s.process.poll() is None:
        if len(peers) < 20:
            peers.append(Anybody(s, chance))
        peer = chance.choice(peers)
        peer.step()
        peers = [p for p in peers if not p.closed]
    for p in peers:
        p.close()


ATTACKS = (resets_are_counted, violations_are_counted, refusals_and_deadlines_of_ours_do_not_count,
           what_wants_an_answer_is_counted, continuations_are_eight, heads_have_a_limit, streams_are_a_hundred,
           windows_have_a_limit, streams_come_in_order, settings_change_under_queued_data, storms_leave_nothing,
           readers_that_never_read_hold_little, a_deadline_ends_what_nobody_takes, bombs_are_refused,
           requests_are_not_smuggled, anybody_may_do_anything)


def main():
    service = Service(sys.argv[1])
    failed = 0
    try:
        slow = slow_peers(service)
        for attack in ATTACKS:
            begun = time.monotonic()
            try:
                attack(service)
                verdict = "ok"
            except (AssertionError, OSError) as e:
                line = e.__traceback__.tb_next.tb_lineno
                verdict, failed = "FAILED at line %d: %r" % (line, e), failed + 1
            print("%-45s %5.2f s  %s" % (attack.__name__, time.monotonic() - begun, verdict), flush=True)
            if service.process.poll() is not None:
                print("the service died: %d" % service.process.returncode)
                return 1
        slow_peers_are_cut_off(slow)
        service.settle()
        code = service.stop()
        print("%d failed; the service ended with %d" % (failed, code))
        return failed != 0 or code != 0
    finally:
        if service.process.poll() is None:
            service.process.kill()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Judges a server of streams.v1 and orders.v1 by Python's gRPC:
grpcio_client.py HOST:PORT PROTOS [CHECK...]

PROTOS is the folder of the .proto files. Prints a line for each check; exits with 0 if all passed, 1 if
one failed and 77 if grpcio, protobuf or protoc is not installed. A service that the server does not have
is skipped with a line, but at least one must be there. Names of checks that follow are skipped too.

Beyond the comments in the .proto files it wants that Process sends metadata whose key begins with `echo-`
back, before or behind the answer, and that Watch sends its metadata at once. By TLS if WEIR_TLS_CA names the
server's certificate.
"""

import concurrent.futures
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

try:
    import google.protobuf  # noqa: F401  pylint: disable=unused-import
    import grpc
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

DEADLINE_S = 20     # of any call that is to succeed
FOUR_MIB = 4 << 20
LONG_MS = 60000


def messages_of(protos):
    """The modules of the messages, made where nobody keeps them."""
    protoc = shutil.which("protoc")
    if protoc is None:
        print("skipped: protoc is not installed")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="weir-grpcio-") as home:
        files = ["streams/v1/streams.proto", "orders/v1/orders.proto"]
        subprocess.run([protoc, "-I", protos, f"--python_out={home}", *files], check=True)
        sys.path.insert(0, home)
        return (importlib.import_module("streams.v1.streams_pb2"),
                importlib.import_module("orders.v1.orders_pb2"))


def channel_to(address, options=None, compression=None):
    """By TLS if there is a certificate to trust."""
    trusted = os.environ.get("WEIR_TLS_CA")
    if not trusted:
        return grpc.insecure_channel(address, options, compression)
    with open(trusted, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(address, credentials, options, compression)


class Service:
    """Callables for a service's methods, as generated code makes them."""

    def __init__(self, channel, name, methods):
        for method, kind, request, response in methods:
            make = getattr(channel, kind)
            setattr(self, method, make(f"/{name}/{method}",
                                       request_serializer=request.SerializeToString,
                                       response_deserializer=response.FromString))


def streams_of(channel, pb):
    return Service(channel, "streams.v1.Streams", [
        ("Process", "unary_unary", pb.ProcessRequest, pb.ProcessResponse),
        ("StreamData", "unary_stream", pb.StreamDataRequest, pb.Data),
        ("Collect", "stream_unary", pb.Data, pb.CollectResponse),
        ("Echo", "stream_stream", pb.Data, pb.Data),
        ("Compose", "unary_unary", pb.ComposeRequest, pb.ComposeResponse),
        ("Missing", "unary_unary", pb.ProcessRequest, pb.ProcessResponse)])


def orders_of(channel, pb):
    return Service(channel, "orders.v1.Orders", [
        ("Submit", "unary_unary", pb.Order, pb.Receipt),
        ("Watch", "unary_stream", pb.WatchRequest, pb.Receipt)])


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(got, wanted, what):
    expect(got == wanted, f"{what}: {got!r} instead of {wanted!r}")


def refused(call, code, what):
    """The error of a call that must fail with `code`."""
    try:
        call()
    except grpc.RpcError as error:
        equal(error.code(), code, f"code of {what} ({error.details()})")
        return error
    raise AssertionError(f"{what} succeeded")


class Judge:
    """The checks of streams.v1; each is a method whose name says what holds."""

    def __init__(self, address, pb):
        self.address = address
        self.pb = pb
        self.channel = channel_to(address)
        self.streams = streams_of(self.channel, pb)

    def process(self, text="hello", **more):
        call = {key: more.pop(key) for key in ("metadata", "compression", "wait_for_ready") if key in more}
        return self.streams.Process(self.pb.ProcessRequest(text=text, **more), timeout=DEADLINE_S, **call)

    def unary_calls_answer(self):
        equal(self.process().text, "hello", "text")
        equal(self.process("").text, "", "an empty text")
        equal(self.process("grüß dich, 世界").text, "grüß dich, 世界", "a text beyond ASCII")
        equal(self.process("x" * 1000000).text, "x" * 1000000, "a long text")

    def a_delay_is_kept(self):
        equal(self.process("late", delay_ms=30).text, "late", "text")

    def a_deadline_that_passes_is_deadline_exceeded(self):
        request = self.pb.ProcessRequest(text="late", delay_ms=LONG_MS)
        start = time.monotonic()
        refused(lambda: self.streams.Process(request, timeout=0.2), grpc.StatusCode.DEADLINE_EXCEEDED,
                "a late call")
        expect(time.monotonic() - start < 10, "the deadline was kept far too late")
        equal(self.process().text, "hello", "the call after it")

    def an_error_has_its_code_and_message(self):
        codes = {code.value[0]: code for code in grpc.StatusCode}
        for number in range(1, 17):
            text = f"failed with {number}: 100 % ü\n"
            error = refused(lambda: self.process(text, fail_with=number), codes[number], f"fail_with {number}")
            equal(error.details(), text, "message")

    def a_method_that_is_not_there_is_unimplemented(self):
        refused(lambda: self.streams.Missing(self.pb.ProcessRequest(), timeout=DEADLINE_S),
                grpc.StatusCode.UNIMPLEMENTED, "a method that is not there")
        missing = self.channel.unary_unary("/nowhere.v1.Nothing/At")
        refused(lambda: missing(b"", timeout=DEADLINE_S), grpc.StatusCode.UNIMPLEMENTED,
                "a service that is not there")

    def a_message_that_is_none_is_refused(self):
        raw = self.channel.unary_unary("/streams.v1.Streams/Process")
        try:
            raw(b"\x0a\xff\xff", timeout=DEADLINE_S)
        except grpc.RpcError as error:
            expect(error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT), error.code())
        else:
            raise AssertionError("bytes that are no message were taken for one")
        equal(self.process().text, "hello", "the call after it")

    def metadata_goes_both_ways(self):
        sent = [("echo-text", "some text"), ("echo-twice", "one"), ("echo-twice", "two"),
                ("echo-bytes-bin", bytes(range(256))), ("echo-short-bin", b"\x00"), ("echo-empty-bin", b"")]
        _, call = self.streams.Process.with_call(self.pb.ProcessRequest(text="x"), timeout=DEADLINE_S,
                                                 metadata=sent)
        back = [(key, value) for key, value in (*call.initial_metadata(), *call.trailing_metadata())
                if key.startswith("echo-")]
        equal(sorted(back), sorted(sent), "metadata")

    def a_server_stream_comes_whole_and_in_order(self):
        count = 20000
        answers = self.streams.StreamData(self.pb.StreamDataRequest(count=count), timeout=DEADLINE_S)
        first = None
        seen = 0
        for message in answers:
            first = message.sequence if first is None else first
            equal(message.sequence, first + seen, "sequence")
            equal(len(message.payload), 92, "payload")
            seen += 1
        equal(seen, count, "messages")
        expect(first in (0, 1), "the first sequence is neither 0 nor 1")
        equal(answers.code(), grpc.StatusCode.OK, "code")

    def an_empty_server_stream_ends_well(self):
        equal(len(list(self.streams.StreamData(self.pb.StreamDataRequest(count=0), timeout=DEADLINE_S))), 0,
              "messages")

    def a_slow_reader_holds_up_nobody_and_loses_nothing(self):
        count, size = 400, 50000    # 20 MB: far more than all windows take
        slow = self.streams.StreamData(self.pb.StreamDataRequest(count=count, payload_bytes=size),
                                       timeout=60)
        next(slow)
        for _ in range(200):        # meanwhile, on the same connection
            self.process("between")
        equal(1 + sum(1 for message in slow if len(message.payload) == size), count, "messages")

    def a_cancelled_stream_ends_and_others_go_on(self):
        answers = self.streams.StreamData(self.pb.StreamDataRequest(count=1 << 40), timeout=60)
        for _ in range(100):
            next(answers)
        answers.cancel()
        refused(lambda: list(answers), grpc.StatusCode.CANCELLED, "a cancelled stream")
        call = self.streams.Process.future(self.pb.ProcessRequest(text="late", delay_ms=LONG_MS), timeout=60)
        equal(self.process().text, "hello", "a call meanwhile")
        call.cancel()
        expect(call.cancelled(), "the unary call was not cancelled")
        equal(self.process().text, "hello", "the call after it")

    def a_client_stream_is_counted(self):
        data = [self.pb.Data(sequence=i, payload=b"x" * (i % 100)) for i in range(5000)]
        answer = self.streams.Collect(iter(data), timeout=DEADLINE_S)
        equal(answer.messages, 5000, "messages")
        equal(answer.bytes, sum(len(message.payload) for message in data), "bytes of payload")
        equal(self.streams.Collect(iter(()), timeout=DEADLINE_S).messages, 0, "messages of an empty stream")

    def a_bidi_stream_answers_message_by_message(self):
        turn = threading.Semaphore(1)

        def ask():
            for i in range(200):
                turn.acquire()      # only when the last one has come back
                yield self.pb.Data(sequence=i, payload=bytes([i]) * i)

        seen = 0
        for message in self.streams.Echo(ask(), timeout=DEADLINE_S):
            equal((message.sequence, message.payload), (seen, bytes([seen]) * seen), "message")
            seen += 1
            turn.release()
        equal(seen, 200, "messages")

    def a_bidi_stream_takes_many_at_once(self):
        data = (self.pb.Data(sequence=i, payload=b"y" * 1000) for i in range(5000))
        seen = [message.sequence for message in self.streams.Echo(data, timeout=DEADLINE_S)]
        equal(seen, list(range(5000)), "sequence")

    def gzip_goes_both_ways(self):
        text = "squeeze me " * 5000
        equal(self.process(text, compression=grpc.Compression.Gzip).text, text, "text")
        with channel_to(self.address, compression=grpc.Compression.Gzip) as channel:
            echo = streams_of(channel, self.pb).Echo
            data = [self.pb.Data(sequence=i, payload=b"z" * 3000) for i in range(100)]
            equal(list(echo(iter(data), timeout=DEADLINE_S)), data, "messages of a compressed stream")

    def a_message_over_4_mib_is_resource_exhausted(self):
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        with channel_to(self.address, options) as channel:
            process = streams_of(channel, self.pb).Process
            request = self.pb.ProcessRequest(text="x" * (FOUR_MIB + 1))
            refused(lambda: process(request, timeout=DEADLINE_S), grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "a message over 4 MiB")
            request = self.pb.ProcessRequest(text="x" * (FOUR_MIB + 1000000))
            refused(lambda: process(request, timeout=DEADLINE_S, compression=grpc.Compression.Gzip),
                    grpc.StatusCode.RESOURCE_EXHAUSTED, "a message of over 4 MiB when unpacked")
            text = "x" * (FOUR_MIB - 100)
            equal(process(self.pb.ProcessRequest(text=text), timeout=DEADLINE_S).text, text,
                  "a message just below 4 MiB")

    def wait_for_ready_waits(self):
        """A port where nobody listens at first: a plain call fails at once, the other one waits."""
        host, port = self.address.rsplit(":", 1)
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", 0))
            options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                       ("grpc.enable_http_proxy", 0)]
            with channel_to(f"127.0.0.1:{door.getsockname()[1]}", options) as channel:
                process = streams_of(channel, self.pb).Process
                request = self.pb.ProcessRequest(text="patient")
                refused(lambda: process(request, timeout=DEADLINE_S), grpc.StatusCode.UNAVAILABLE,
                        "a call to nobody")
                waiting = process.future(request, timeout=DEADLINE_S, wait_for_ready=True)
                door.listen()
                door.settimeout(DEADLINE_S)
                inner, _ = door.accept()
                outer = socket.create_connection((host, int(port)))
                relays = [threading.Thread(target=relay, args=pair, daemon=True)
                          for pair in ((inner, outer), (outer, inner))]
                for thread in relays:
                    thread.start()
                equal(waiting.result(DEADLINE_S).text, "patient", "text")
            for thread in relays:
                thread.join(DEADLINE_S)

    def a_hundred_calls_run_in_parallel(self):
        start = time.monotonic()
        calls = [self.streams.Process.future(self.pb.ProcessRequest(text=str(i), delay_ms=300),
                                             timeout=DEADLINE_S) for i in range(100)]
        for i, call in enumerate(calls):
            equal(call.result().text, str(i), "text")
        expect(time.monotonic() - start < 15, "100 calls of 0.3 s ran one after the other")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            texts = [str(i) for i in range(1000)]
            equal(list(pool.map(lambda text: self.process(text).text, texts)), texts, "texts")

    def compose_joins_two_calls(self):
        ask = self.pb.ProcessRequest
        request = self.pb.ComposeRequest(a=ask(text="left", delay_ms=20), b=ask(text="right"))
        answer = self.streams.Compose(request, timeout=DEADLINE_S)
        equal((answer.a, answer.b), ("left", "right"), "answers")
        request = self.pb.ComposeRequest(a=ask(text="slow", delay_ms=LONG_MS), b=ask(text="no", fail_with=5))
        start = time.monotonic()
        error = refused(lambda: self.streams.Compose(request, timeout=DEADLINE_S), grpc.StatusCode.NOT_FOUND,
                        "a composed call of which one fails")
        equal(error.details(), "no", "message")
        expect(time.monotonic() - start < 10, "the other call was waited for")


def relay(from_end, to_end):
    """Bytes from one socket to the other until one of them ends."""
    try:
        while data := from_end.recv(65536):
            to_end.sendall(data)
    except OSError:
        pass
    for end in (from_end, to_end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class OrdersJudge:
    """The checks of orders.v1."""

    def __init__(self, address, pb):
        self.pb = pb
        self.channel = channel_to(address)
        self.orders = orders_of(self.channel, pb)
        self.number = os.getpid() * 1000

    def order(self, **more):
        self.number += 1
        order = {"id": f"rpc-{self.number}", "amount": 42.5, "currency": "EUR",
                 "items": [self.pb.Item(sku="blue-kettle", qty=2)]}
        return self.pb.Order(**{**order, **more})

    def an_order_has_a_receipt(self):
        order = self.order()
        receipt = self.orders.Submit(order, timeout=DEADLINE_S)
        equal((receipt.id, receipt.currency), (order.id, "EUR"), "receipt")
        expect(receipt.status, "the receipt has no status")

    def what_is_no_order_is_invalid_argument(self):
        for wrong in ({"id": ""}, {"amount": -1.0}, {"amount": float("nan")}, {"currency": ""}):
            refused(lambda: self.orders.Submit(self.order(**wrong), timeout=DEADLINE_S),
                    grpc.StatusCode.INVALID_ARGUMENT, f"an order with {wrong}")

    def a_watcher_is_told_of_new_orders(self):
        watch = self.orders.Watch(self.pb.WatchRequest(currency="USD"), timeout=DEADLINE_S)
        watch.initial_metadata()    # once it has come, the watch stands
        self.orders.Submit(self.order(currency="EUR"), timeout=DEADLINE_S)
        order = self.order(currency="USD")
        self.orders.Submit(order, timeout=DEADLINE_S)
        equal(next(watch).id, order.id, "the first order told of")
        watch.cancel()


def has_service(address, method):
    """Whether the server knows the service: it answers something other than UNIMPLEMENTED."""
    with channel_to(address) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=DEADLINE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return error.code() != grpc.StatusCode.UNIMPLEMENTED
        return True


def run(judge, skipped):
    failed = 0
    for name in (name for name, member in vars(type(judge)).items()
                 if callable(member) and not name.startswith("_") and name not in ("process", "order")):
        what = name.replace("_", " ")
        if name in skipped:
            print(f"skip {what}")
            continue
        try:
            getattr(judge, name)()
            print(f"ok   {what}", flush=True)
        except Exception as error:  # whatever it is, the check has failed and the others go on
            failed += 1
            print(f"FAIL {what}: {error}", flush=True)
            if not isinstance(error, (AssertionError, grpc.RpcError)):
                traceback.print_exc()
    return failed


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    address, protos, *skipped = sys.argv[1:]
    streams_pb, orders_pb = messages_of(protos)
    judges = [("streams.v1", "/streams.v1.Streams/Process", Judge, streams_pb),
              ("orders.v1", "/orders.v1.Orders/Submit", OrdersJudge, orders_pb)]
    failed = found = 0
    for name, method, judge, pb in judges:
        if has_service(address, method):
            found += 1
            failed += run(judge(address, pb), skipped)
        else:
            print(f"skip {name}: the server does not have it")
    print(f"grpcio {grpc.__version__}: {'all passed' if failed == 0 else f'{failed} failed'}")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())

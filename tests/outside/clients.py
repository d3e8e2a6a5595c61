"""Clients that are not ours: stubs made by protoc and grpcio from proto/, against real processes.

usage: clients.py CHRONON PROTO_DIR

One node first, and each service of it (`services.py`, `workers.py`, `traces.py`): publish, duplicates, what is refused, consumer groups, acknowledgements, failures, dead letters, a restart in between.
Then three, whose leader is killed in between: what was accepted is delivered to every group, once it is acknowledged no more.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

WAIT_S = 30
JSON_LOGS = os.environ | {"CHRONON_LOG_FORMAT": "json"}
PAYLOAD_MAX = 4 * 1024 * 1024
# What a client takes in one message is less than that, unless it says so.
OPTIONS = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]


def main(binary, protos):
    with tempfile.TemporaryDirectory() as scratch:
        make_stubs(protos, scratch)
        for test in (one_node, three_nodes):
            began = time.monotonic()
            test(binary, scratch)
            print(f"{test.__name__}: held, {time.monotonic() - began:.1f} s")


def make_stubs(protos, into):
    import grpc_tools

    bundled = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    status = protoc.main(
        ["protoc", f"-I{protos}", f"-I{bundled}", f"--python_out={into}", f"--grpc_python_out={into}"]
        + [os.path.join(protos, name) for name in ("cronos_db.proto", "cronos_db_ext.proto")]
    )
    assert status == 0, "protoc makes no stubs of proto/"
    sys.path.insert(0, into)
    global pb, rpc, ext, ext_rpc, services, traces, workers
    import cronos_db_pb2 as pb
    import cronos_db_pb2_grpc as rpc
    import cronos_db_ext_pb2 as ext
    import cronos_db_ext_pb2_grpc as ext_rpc

    import services
    import traces
    import workers


# --- processes


def free_ports(count):
    """Below those that the system gives to connections: one of these would have a node talk to itself."""
    held = []
    while len(held) < count:
        try:
            held.append(socket.create_server(("127.0.0.1", random.randrange(10_000, 20_000))))
        except OSError:
            pass  # It is taken.
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Node:
    """A node's process, and how to reach it."""

    def __init__(self, arguments, grpc_port, http_port, log=os.devnull):
        self.arguments, self.http_port, self.log = arguments, http_port, log
        self.address = f"127.0.0.1:{grpc_port}"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stdout=subprocess.DEVNULL, stderr=log, env=JSON_LOGS)

    def logged(self):
        return [json.loads(line) for line in open(self.log)]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/status", timeout=2) as answer:
            return json.load(answer)


def until(what, is_so):
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S} s"
        time.sleep(0.05)


# --- what clients do


class Client:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        self.events = rpc.EventServiceStub(self.channel)

    def publish(self, message_id, topic="orders", due_ms=1, payload=b"hello", **more):
        event = pb.Event(message_id=message_id, topic=topic, schedule_ts=due_ms, payload=payload, **more)
        return self.events.Publish(pb.PublishRequest(event=event), timeout=WAIT_S)

    def subscribe(self, group, topic="orders", **more):
        return Subscription(self.channel, topic, group, more)


class Subscription:
    """A member of a consumer group: deliveries come into a queue, acknowledgements go out on a stream of their own."""

    def __init__(self, channel, topic, group, more):
        events = rpc.EventServiceStub(channel)
        self.delivered, self.wishes, self.acks = queue.Queue(), queue.Queue(), queue.Queue()
        partition = more.pop("partition", -1)
        wish = pb.SubscribeRequest(consumer_group=group, topic=topic, partition_id=partition, **more)
        self.wishes.put(wish)
        self.call = events.Subscribe(iter(self.wishes.get, None))
        self.answers = events.Ack(iter(self.acks.get, None))
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        try:
            for delivery in self.call:
                self.delivered.put(delivery)
        except grpc.RpcError as error:
            self.delivered.put(error)

    def take(self, wait=WAIT_S):
        delivery = self.delivered.get(timeout=wait)
        if isinstance(delivery, grpc.RpcError):
            raise delivery
        return delivery

    def nothing_comes(self, for_s):
        try:
            return self.take(for_s)
        except queue.Empty:
            return None

    def ack(self, delivery_id, success=True, **more):
        self.acks.put(pb.AckRequest(delivery_id=delivery_id, success=success, **more))
        return next(self.answers)

    def close(self):
        self.wishes.put(None)
        self.acks.put(None)
        self.call.cancel()


def now_ms():
    return int(time.time() * 1000)


# --- one node


def one_node(binary, scratch):
    requests, http, grpc_port = free_ports(3)
    data = os.path.join(scratch, "one")
    listen = [f"127.0.0.1:{port}" for port in (requests, http, grpc_port)]
    node = Node(
        [binary, "serve", "--dev", "--data-dir", data, "--requests", listen[0], "--http", listen[1], "--grpc", listen[2], "--webhooks", "http://127.0.0.1:*/in/"],
        grpc_port,
        http,
        os.path.join(scratch, "one.log"),
    )
    node.start()
    try:
        until("the node is ready", node.is_ready)
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/health", timeout=2) as answer:
            assert answer.read() == b"OK"
        client = Client(node.address)
        checked = health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        what_is_refused(client)
        duplicates_and_batches(client)
        groups_and_failures(client)
        schedules(client)
        expiry(client)
        replay(client)
        endpoints(client)
        retention(client)
        recurring(client)
        services.of_one_node(client)
        workers.of_one_node(client, http)
        workers.last_voter(client)
        metrics(http)
        services.of_metrics(http)
        traces.of_one_node(client, Sink(), node.logged)
        restart(node, client)
    finally:
        node.kill()


def what_is_refused(client):
    refused = [
        (dict(message_id=""), "message_id is required"),
        (dict(message_id="x" * 129), "message_id exceeds 128 characters"),
        (dict(message_id="x", topic="t" * 256), "topic exceeds 255 characters"),
        (dict(message_id="x", payload=b"p" * (PAYLOAD_MAX + 1)), "payload exceeds 4MB limit"),
        (dict(message_id="x", due_ms=0), "schedule_ts is required"),
        (dict(message_id="x", payload=b""), "payload is required"),
    ]
    for wanted, error in refused:
        answer = client.publish(**wanted)
        assert (answer.success, answer.error) == (False, error), answer
    assert client.publish("long", topic="long", payload=b"p" * PAYLOAD_MAX).success
    member = client.subscribe("g", topic="long")
    delivery = member.take()
    assert len(delivery.event.payload) == PAYLOAD_MAX and member.ack(delivery.delivery_id).success
    member.close()


def duplicates_and_batches(client):
    first = client.publish("d1", topic="dups")
    assert first.success, first
    again = client.publish("d1", topic="dups")
    assert (again.success, again.error, again.offset) == (False, "duplicate message_id", first.offset), again
    event = lambda n: pb.Event(message_id=f"b{n}", topic="dups", schedule_ts=1, payload=b"x")
    batch = [event(n) for n in range(100)] + [event(7), pb.Event(message_id="", topic="dups")]
    answer = client.events.PublishBatch(pb.PublishBatchRequest(events=batch), timeout=WAIT_S)
    counts = (answer.published_count, answer.duplicate_count, answer.error_count)
    assert counts == (100, 1, 1), answer
    member = client.subscribe("g", topic="dups")
    seen = set()
    for _ in range(101):
        delivery = member.take()
        assert member.ack(delivery.delivery_id).success
        seen.add(delivery.event.message_id)
    assert seen == {"d1"} | {f"b{n}" for n in range(100)}
    member.close()


def groups_and_failures(client):
    a = client.subscribe("shared", topic="work", ack_timeout_ms=60_000, max_deliver=3, backoff_ms=50, max_buffer_size=1)
    assert client.publish("w1", topic="work", payload=b"one").success
    first = a.take()
    assert (first.event.payload, first.attempt) == (b"one", 1)
    # One credit: nothing more comes before the first is settled.
    assert client.publish("w2", topic="work").success
    assert a.nothing_comes(0.3) is None
    assert a.ack(first.delivery_id, success=False, error="not yet").success
    taken = {}
    while len(taken) < 2:
        delivery = a.take()
        if delivery.event.message_id == "w1":
            assert delivery.attempt == 2 and delivery.fencing_token > first.fencing_token
            stale = a.ack(first.delivery_id)
            assert not stale.success and "attempt" in stale.error, stale
        answer = a.ack(delivery.delivery_id)
        assert answer.success, answer
        taken[delivery.event.message_id] = delivery
    # Another group has everything as well, and gives one up for good.
    b = client.subscribe("other", topic="work", max_deliver=1)
    for _ in range(2):
        delivery = b.take()
        ok = delivery.event.message_id != "w1"
        assert b.ack(delivery.delivery_id, success=ok, error="" if ok else "poison").success
    letters = ext_rpc.DeadLetterServiceStub(client.channel)
    listed = letters.List(ext.ListDeadRequest(topic="work", consumer_group="other"), timeout=WAIT_S).letters
    assert [(letter.event.message_id, letter.why) for letter in listed] == [("w1", "poison")], listed
    revive = ext.ReviveRequest(topic="work", consumer_group="other")
    assert letters.Redrive(revive, timeout=WAIT_S).count == 1
    again = b.take()
    assert again.event.message_id == "w1" and b.ack(again.delivery_id).success
    fates = ext_rpc.LifecycleServiceStub(client.channel)
    fate = fates.GetEvent(ext.GetEventRequest(topic="work", message_id="w1"), timeout=WAIT_S)
    assert fate.found and fate.state == "PROCESSED", fate
    ordered(client)
    a.close()
    b.close()


def ordered(client):
    member = client.subscribe("in-order", topic="steps", mode=pb.ORDERED, backoff_ms=100)
    for number in range(4):
        key = "even" if number % 2 == 0 else "odd"
        assert client.publish(f"s{number}", topic="steps", ordering_key=key).success
    order = {"even": [], "odd": []}
    failed = False
    while sum(map(len, order.values())) < 4:
        delivery = member.take()
        name = delivery.event.message_id
        if name == "s0" and not failed:
            failed = True
            assert member.ack(delivery.delivery_id, success=False).success
            continue
        order[delivery.event.ordering_key].append(name)
        assert member.ack(delivery.delivery_id).success
    assert order == {"even": ["s0", "s2"], "odd": ["s1", "s3"]}, order
    member.close()
    options_of_a_group(client)


def options_of_a_group(client):
    # Who says nothing of a group's options takes it as it was made.
    first = client.subscribe("made-so", topic="options", mode=pb.ORDERED, max_deliver=5, ack_timeout_ms=7_000)
    assert client.publish("o1", topic="options").success
    delivery = first.take()
    assert delivery.ack_timeout_ms == 7_000 and first.ack(delivery.delivery_id).success
    first.close()
    second = client.subscribe("made-so", topic="options")
    assert client.publish("o2", topic="options").success
    delivery = second.take()
    assert delivery.ack_timeout_ms == 7_000 and second.ack(delivery.delivery_id).success
    second.close()
    refused = [dict(group="made-so", mode=pb.SHARED), dict(group="g", max_buffer_size=-1)]
    for wanted in refused + [dict(group="g", max_buffer_size=10_001)]:
        third = client.subscribe(topic="options", **wanted)
        try:
            raise AssertionError(f"{wanted} was taken: {third.take()}")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        third.close()


def schedules(client):
    member = client.subscribe("later", topic="later")
    due = now_ms() + 700
    assert client.publish("soon", topic="later", due_ms=due).schedule_ts == due
    assert client.publish("never", topic="later", due_ms=due).success
    assert client.publish("put-off", topic="later", due_ms=due + 3_600_000).success
    schedule = ext_rpc.ScheduleServiceStub(client.channel)
    assert schedule.Cancel(ext.CancelRequest(topic="later", message_id="never"), timeout=WAIT_S).success
    moved = ext.RescheduleRequest(topic="later", message_id="put-off", schedule_ts=due + 300)
    assert schedule.Reschedule(moved, timeout=WAIT_S).success
    for name, at in (("soon", due), ("put-off", due + 300)):
        delivery = member.take()
        assert delivery.event.message_id == name, delivery
        assert now_ms() >= at, f"{name} came {at - now_ms()} ms early"
        assert member.ack(delivery.delivery_id).success
    assert member.nothing_comes(0.3) is None
    member.close()


def expiry(client):
    refused = client.publish("x0", topic="short-lived", due_ms=now_ms() + 60_000, expires_ts=now_ms() + 30_000)
    assert not refused.success and "expires_ts" in refused.error, refused
    assert client.publish("x1", topic="short-lived", ttl_ms=400).success
    assert client.publish("x2", topic="short-lived").success
    time.sleep(0.8)
    member = client.subscribe("late", topic="short-lived")
    delivery = member.take()
    assert delivery.event.message_id == "x2" and member.ack(delivery.delivery_id).success
    assert member.nothing_comes(0.3) is None
    fates = ext_rpc.LifecycleServiceStub(client.channel)
    fate = fates.GetEvent(ext.GetEventRequest(topic="short-lived", message_id="x1"), timeout=WAIT_S)
    assert fate.found and fate.state == "EXPIRED", fate
    member.close()


def replay(client):
    for number in range(50):
        assert client.publish(f"r{number}", topic="replayed", payload=b"p%d" % number).success
        if number == 24:
            time.sleep(0.05)
            middle = now_ms()
            time.sleep(0.05)
    again = lambda **wanted: list(client.events.Replay(pb.ReplayRequest(topic="replayed", **wanted), timeout=WAIT_S))
    names = lambda events: [replayed.event.message_id for replayed in events]
    everything = again(partition_id=-1)
    assert sorted(names(everything)) == sorted(f"r{number}" for number in range(50))
    assert {replayed.event.payload for replayed in everything} == {b"p%d" % number for number in range(50)}
    assert set(names(again(partition_id=-1, start_ts=middle))) == {f"r{number}" for number in range(25, 50)}
    assert set(names(again(partition_id=-1, end_ts=middle))) == {f"r{number}" for number in range(25)}
    partition = everything[0].event.partition_id
    of_one = [replayed for replayed in everything if replayed.event.partition_id == partition]
    assert [replayed.replay_offset for replayed in of_one] == list(range(len(of_one)))
    assert names(again(partition_id=partition, start_offset=3, count=4)) == names(of_one)[3:7]
    # As fast as they became ready: the pause in the middle is there again.
    began = time.monotonic()
    assert len(again(partition_id=-1, speed=1.0)) == 50
    assert time.monotonic() - began >= 0.1
    for wanted in (dict(speed=-1.0), dict(start_ts=9, end_ts=8), dict(partition_id=7_000_000)):
        try:
            raise AssertionError(f"{wanted} was taken: {again(**wanted)}")
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), error
    # No consumer group was touched: one that comes now has everything.
    member = client.subscribe("after", topic="replayed")
    for _ in range(50):
        assert member.ack(member.take().delivery_id).success
    member.close()


def recurring(client):
    schedule = ext_rpc.ScheduleServiceStub(client.channel)
    event = pb.Event(topic="beats", payload=b"tick")
    made = schedule.SetRecurring(ext.SetRecurringRequest(event=event, name="beat", every_ms=200), timeout=WAIT_S)
    assert made.every_ms == 200 and len(made.next_ts) == 3, made
    member = client.subscribe("g", topic="beats")
    seen = []
    while len(seen) < 25:
        # More than one plan has.
        delivery = member.take()
        assert delivery.event.payload == b"tick" and now_ms() >= delivery.event.schedule_ts
        assert member.ack(delivery.delivery_id).success
        seen.append((delivery.event.schedule_ts, delivery.event.message_id))
    dues = [due for due, _ in sorted(seen)]
    assert dues == list(range(dues[0], dues[0] + 200 * 25, 200)), dues
    assert len({name for _, name in seen}) == 25 and all(name.startswith("beat@20") for _, name in seen)
    request = ext.RecurringRequest(topic="beats", name="beat")
    assert schedule.PauseRecurring(request, timeout=WAIT_S).paused
    time.sleep(0.3)
    while member.nothing_comes(0.5):
        pass
    assert schedule.TriggerRecurring(request, timeout=WAIT_S).success
    once = member.take()
    assert member.ack(once.delivery_id).success and member.nothing_comes(0.5) is None
    again = ext.BackfillRequest(topic="beats", name="beat", from_ts=dues[0], to_ts=dues[4])
    filled = schedule.BackfillRecurring(again, timeout=WAIT_S)
    assert (filled.published_count, filled.duplicate_count) == (0, 5), filled
    before = ext.BackfillRequest(topic="beats", name="beat", from_ts=dues[0] - 86_400_000, to_ts=dues[0] - 86_399_000)
    assert schedule.BackfillRecurring(before, timeout=WAIT_S).published_count == 6
    assert not schedule.ResumeRecurring(request, timeout=WAIT_S).paused
    assert member.take().event.payload == b"tick"
    schedule.DeleteRecurring(request, timeout=WAIT_S)
    nightly = ext.SetRecurringRequest(event=event, name="nightly", cron="30 2 * * *", zone="Europe/Berlin")
    assert len(schedule.SetRecurring(nightly, timeout=WAIT_S).next_ts) == 3
    listed = schedule.ListRecurring(ext.ListRecurringRequest(topic="beats"), timeout=WAIT_S).schedules
    assert [(known.name, known.zone) for known in listed] == [("nightly", "Europe/Berlin")], listed
    planned = lambda: schedule.ListScheduled(ext.ListScheduledRequest(topic="beats"), timeout=WAIT_S).events
    until("its nights are planned", lambda: len(planned()) == 16)
    for wanted, word in ((dict(cron="61 * * * *"), "61 * * * *"), (dict(cron="* * * * *", zone="Mars/X"), "Mars/X")):
        try:
            bad = ext.SetRecurringRequest(event=event, name="bad", **wanted)
            raise AssertionError(f"{wanted} was taken: {schedule.SetRecurring(bad, timeout=WAIT_S)}")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and word in error.details(), error
    member.close()


def retention(client):
    topics = ext_rpc.TopicServiceStub(client.channel)
    topics.CreateTopic(ext.CreateTopicRequest(topic="let-go", partitions=1), timeout=WAIT_S)
    for number in range(10):
        assert client.publish(f"l{number}", topic="let-go", payload=b"x" * 100).success
    kept = lambda: list(client.events.Replay(pb.ReplayRequest(topic="let-go", partition_id=-1), timeout=WAIT_S))
    assert len(kept()) == 10
    partition = kept()[0].event.partition_id
    partitions = rpc.PartitionServiceStub(client.channel)
    gone = partitions.RunRetention(pb.RetentionRequest(partition_id=partition, min_offset=4), timeout=WAIT_S)
    assert (gone.success, gone.events_deleted, gone.bytes_freed) == (True, 4, 400), gone
    assert [replayed.replay_offset for replayed in kept()] == list(range(4, 10))
    altered = topics.AlterTopic(ext.AlterTopicRequest(topic="let-go", retain_bytes=350), timeout=WAIT_S)
    assert altered.retain_bytes == 350
    until("what is too much has gone", lambda: len(kept()) == 3)
    topics.AlterTopic(ext.AlterTopicRequest(topic="let-go", retain_age_ms=300), timeout=WAIT_S)
    until("what is too old has gone", lambda: not kept())
    fates = ext_rpc.LifecycleServiceStub(client.channel)
    assert fates.GetEvent(ext.GetEventRequest(topic="let-go", message_id="l9"), timeout=WAIT_S).state == "EXPIRED"


SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four byt").decode()


class Sink:
    """A receiver of webhooks: what it was told, and how it answers, by path."""

    def __init__(self):
        sink = self
        self.told, self.answers = [], {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.told.append((self.path, self.headers, body))
                status, headers = sink.answers.get(self.path, [(200, {})])[0]
                if len(sink.answers.get(self.path, [])) > 1:
                    sink.answers[self.path].pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def to(self, path):
        return [(headers, body) for at, headers, body in list(self.told) if at == f"/in/{path}"]


def endpoints(client):
    sink = Sink()
    effects = ext_rpc.EffectServiceStub(client.channel)

    def set_endpoint(name, topic="posted", **more):
        wanted = dict(topic=topic, name=name, target=sink.url + name, backoff_ms=50, attempts_max=3)
        endpoint = ext.Endpoint(**(wanted | more))
        return effects.SetEndpoint(ext.SetEndpointRequest(endpoint=endpoint, secrets=[SECRET]), timeout=WAIT_S)

    for name in ("fine", "flaky", "never"):
        set_endpoint(name)
    set_endpoint("copies", target="topic:copied")
    sink.answers["/in/flaky"] = [(503, {"Retry-After": "1"}), (200, {})]
    sink.answers["/in/never"] = [(422, {})]
    listed = effects.ListEndpoints(ext.ListEndpointsRequest(topic="posted"), timeout=WAIT_S).endpoints
    assert [endpoint.name for endpoint in listed] == ["copies", "fine", "flaky", "never"], listed
    due = now_ms() + 300
    assert client.publish("e1", topic="posted", payload=b"by post", due_ms=due).success
    until("the event is posted", lambda: sink.to("fine") and len(sink.to("flaky")) == 2 and sink.to("never"))
    assert now_ms() >= due
    headers, body = sink.to("fine")[0]
    assert body == b"by post" and headers["Chronon-Message-Id"] == "e1", headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(b"a key of twenty-four byt", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode(), headers
    (first, _), (second, _) = sink.to("flaky")
    assert first["Idempotency-Key"] == second["Idempotency-Key"] != headers["Idempotency-Key"]
    token = lambda headers: tuple(map(int, headers["Fencing-Token"].split(":")))
    assert token(first)[0] == token(second)[0] and token(first)[1] < token(second)[1]
    # What is refused is a dead letter; it can be redriven.
    letters = ext_rpc.DeadLetterServiceStub(client.channel)
    dead = ext.ListDeadRequest(topic="posted", consumer_group="endpoint:never")
    until("the refused event is a dead letter", lambda: letters.List(dead, timeout=WAIT_S).letters)
    assert "422" in letters.List(dead, timeout=WAIT_S).letters[0].why
    sink.answers["/in/never"] = [(204, {})]
    assert letters.Redrive(ext.ReviveRequest(topic="posted", consumer_group="endpoint:never"), timeout=WAIT_S).count == 1
    until("the dead letter is posted again", lambda: len(sink.to("never")) == 2)
    # The other topic has it once.
    member = client.subscribe("g", topic="copied")
    copy = member.take()
    assert copy.event.payload == b"by post" and member.ack(copy.delivery_id).success
    assert member.nothing_comes(0.3) is None
    member.close()
    refused = [dict(target="ftp://x"), dict(concurrency=5000), dict(name="")]
    for wanted in refused:
        try:
            raise AssertionError(f"{wanted} was taken: {set_endpoint(wanted.pop('name', 'bad'), **wanted)}")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    # Nothing is posted to where nobody may post.
    set_endpoint("elsewhere", target=sink.url.replace("/in/", "/out/"))
    effects.RemoveEndpoint(ext.RemoveEndpointRequest(topic="posted", name="fine"), timeout=WAIT_S)
    time.sleep(1.2)
    assert client.publish("e2", topic="posted").success
    until("the others go on", lambda: len(sink.to("flaky")) == 3)
    assert len(sink.to("fine")) == 1 and not [path for path, *_ in sink.told if path.startswith("/out/")]
    for path in ("flaky", "never"):
        keys = [headers["Idempotency-Key"] for headers, _ in sink.to(path)]
        assert len(set(keys)) == 2, keys


def metrics(http):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=2) as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["chronon_ready"] == "1"
    assert int(values['chronon_published_total{status="duplicate"}']) == 2
    assert int(values["chronon_redeliveries_total"]) >= 2
    assert int(values["chronon_delivery_lateness_seconds_count"]) > 100


def restart(node, client):
    due = now_ms() + 2000
    assert client.publish("across", topic="restart", due_ms=due).success
    held = workers.before_a_restart(client)
    node.kill()
    node.start()
    until("the node is ready again", node.is_ready)
    client = Client(node.address)
    again = client.publish("across", topic="restart", due_ms=due)
    assert again.error == "duplicate message_id", again
    member = client.subscribe("g", topic="restart")
    delivery = member.take()
    assert delivery.event.message_id == "across" and now_ms() >= due
    assert member.ack(delivery.delivery_id).success
    member.close()
    workers.after_a_restart(client, held)


# --- three nodes


def three_nodes(binary, scratch):
    ports = [free_ports(4) for _ in range(3)]
    address = lambda node, which: f"127.0.0.1:{ports[node][which]}"
    peers = ",".join(f"{node + 1}={address(node, 1)}" for node in range(3))
    requests = ",".join(f"{node + 1}={address(node, 0)}" for node in range(3))
    nodes = []
    for node in range(3):
        data = os.path.join(scratch, f"node-{node + 1}")
        identity = ["--data-dir", data, "--cluster", "c1", "--node", str(node + 1)]
        groups = ["--group", "0:catalog", "--group", "1:events", "--group", "2:events"]
        subprocess.run(
            [binary, "format", *identity, "--voters", "1,2,3", *groups, "--archive", "4194304:64"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        listen = ["--requests", address(node, 0), "--peers-listen", address(node, 1)]
        listen += ["--http", address(node, 2), "--grpc", address(node, 3)]
        arguments = [binary, "serve", *identity, *listen, "--peers", peers, "--peers-requests", requests]
        nodes.append(Node(arguments, ports[node][3], ports[node][2]))
    for node in nodes:
        node.start()
    try:
        for node in nodes:
            until("a node is ready", node.is_ready)
        topics = ext_rpc.TopicServiceStub(Client(nodes[0].address).channel)
        topics.CreateTopic(ext.CreateTopicRequest(topic="orders"), timeout=WAIT_S)
        clients = [Client(node.address) for node in nodes]
        services.of_three_nodes(clients)
        members(binary, scratch, nodes, clients, peers, requests)
        leader_killed(nodes)
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.kill()


def members(binary, scratch, nodes, clients, peers, requests):
    own, between, http, grpc_port = free_ports(4)
    address = f"127.0.0.1:{between}"
    identity = ["--data-dir", os.path.join(scratch, "node-4"), "--cluster", "c1", "--node", "4"]
    groups = ["--group", "0:catalog", "--group", "1:events", "--group", "2:events", "--archive", "4194304:64"]
    subprocess.run([binary, "format", *identity, "--voters", "1,2,3", "--join", *groups], check=True, stdout=subprocess.DEVNULL)
    listen = ["--requests", f"127.0.0.1:{own}", "--peers-listen", address]
    listen += ["--http", f"127.0.0.1:{http}", "--grpc", f"127.0.0.1:{grpc_port}"]
    node = Node([binary, "serve", *identity, *listen, "--peers", peers, "--peers-requests", requests], grpc_port, http)
    try:
        workers.of_members(clients, node.start, address)
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()


def leader_killed(nodes):
    """Publishes and consumes at nodes 2 and 3 while the leader of group 1, made to be node 1 or another, is killed."""
    leads = lambda node: any(group["group"] == 1 and group["role"] == "primary" for group in node.status()["groups"])
    until("group 1 has a leader", lambda: any(leads(node) for node in nodes))
    leader = next(node for node in nodes if leads(node))
    others = [node for node in nodes if node is not leader]
    publisher = Client(others[0].address)
    members = [Client(node.address).subscribe("g", ack_timeout_ms=2000, backoff_ms=50) for node in others]
    accepted, acknowledged, stopped = set(), {}, threading.Event()

    def consume(member):
        while not stopped.is_set():
            delivery = member.nothing_comes(0.2)
            if delivery is not None and member.ack(delivery.delivery_id).success:
                name = delivery.event.message_id
                acknowledged[name] = acknowledged.get(name, 0) + 1

    threads = [threading.Thread(target=consume, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for number in range(300):
        if number == 100:
            leader.kill()
        if number == 200:
            leader.start()
        due = now_ms() + number % 3 * 200
        answer = publisher.publish(f"e{number}", due_ms=due)
        assert answer.success or answer.error == "duplicate message_id", answer
        accepted.add(f"e{number}")
    until("all are acknowledged", lambda: set(acknowledged) == accepted)
    time.sleep(1)
    stopped.set()
    for thread in threads:
        thread.join()
    again = {name: count for name, count in acknowledged.items() if count != 1}
    assert not again, f"acknowledged more than once: {again}"
    for member in members:
        member.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])

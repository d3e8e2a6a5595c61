"""Endpoints that hold back, workers that pull, and nodes that come and go. Imported once there are stubs."""

import collections
import http.server
import subprocess
import threading
import time

import cronos_db_ext_pb2 as ext
import cronos_db_ext_pb2_grpc as ext_rpc
import grpc
from services import WAIT_S, now_ms, refused_with

OPEN = ext.EndpointBreaker.OPEN
CLOSED = ext.EndpointBreaker.CLOSED


def until(what, is_so, wait_s=WAIT_S):
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError(f"not in time: {what}")


class Counting:
    """A receiver that answers with `status`, and notes when it was asked."""

    def __init__(self):
        self.status, self.asked = 200, []
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                sink.asked.append((time.monotonic(), self.headers["Chronon-Message-Id"], int(self.headers["Chronon-Attempt"])))
                self.send_response(sink.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in/x"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def of_one_node(client, http):
    effects = ext_rpc.EffectServiceStub(client.channel)
    rate(client, effects)
    breaker(client, effects, http)
    pulled(client, effects)
    what_is_refused(effects)


def set_endpoint(effects, name, topic, url, **more):
    endpoint = ext.Endpoint(topic=topic, name=name, target=url, **more)
    return effects.SetEndpoint(ext.SetEndpointRequest(endpoint=endpoint), timeout=WAIT_S)


def rate(client, effects):
    sink = Counting()
    told = set_endpoint(effects, "slow", "rated", sink.url, rate_per_s=20, concurrency=50)
    assert (told.rate_per_s, told.breaker_failures) == (20, 5), told
    for number in range(60):
        assert client.publish(f"r{number}", topic="rated").success
    until("all are posted", lambda: len(sink.asked) == 60)
    times = [at for at, *_ in sink.asked]
    in_a_second = max(sum(1 for other in times if at <= other < at + 1) for at in times)
    assert in_a_second <= 26, f"{in_a_second} were posted in one second, and 20 may be"
    assert times[-1] - times[0] >= 2.5, f"60 took {times[-1] - times[0]} s"
    assert len({name for _, name, _ in sink.asked}) == 60, "one was posted twice"
    effects.RemoveEndpoint(ext.RemoveEndpointRequest(topic="rated", name="slow"), timeout=WAIT_S)


def breaker(client, effects, http):
    """A target that is down is left alone, without attempts that are spent; when it is back it gets everything."""
    sink = Counting()
    sink.status = 503
    set_endpoint(effects, "down", "broken", sink.url, attempts_max=7, backoff_ms=10, breaker_failures=3, concurrency=2)
    listed = lambda: effects.ListEndpoints(ext.ListEndpointsRequest(topic="broken"), timeout=WAIT_S).endpoints[0]
    until("somebody posts there", lambda: listed().breaker.state == CLOSED)
    for number in range(20):
        assert client.publish(f"b{number}", topic="broken").success
    until("it is left alone", lambda: listed().breaker.state == OPEN)
    # Open for 1 s, then 2 s, then 4 s, with one post between.
    time.sleep(4)
    state = listed().breaker
    assert state.state == OPEN and state.node == 1 and state.failures >= 4 and 0 < state.open_ms <= 4000, state
    assert 'chronon_endpoint_breaker{topic="broken",endpoint="down"} 2' in metrics(http), "the metric"
    asked = len(sink.asked)
    assert asked <= 3 + 2 + 2, f"a target that is down was asked {asked} times in 4 s"
    assert max(attempt for *_, attempt in sink.asked) <= 5, sink.asked
    sink.status = 200
    until("all are posted", lambda: len({name for _, name, _ in sink.asked[asked:]}) == 20)
    until("it is posted to again", lambda: listed().breaker.state == CLOSED)
    dead = ext_rpc.DeadLetterServiceStub(client.channel).List(ext.ListDeadRequest(topic="broken", consumer_group="endpoint:down"), timeout=WAIT_S)
    assert not dead.letters, "an outage has cost an event"
    spent = collections.Counter(name for _, name, _ in sink.asked)
    assert max(spent.values()) <= 6, spent
    assert 'chronon_endpoint_breaker{topic="broken",endpoint="down"} 0' in metrics(http)


def metrics(http):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as answer:
        return answer.read().decode()


def claim(effects, topic, group, worker, count=1, wait_ms=0, **more):
    request = ext.ClaimRequest(topic=topic, consumer_group=group, worker=worker, count=count, wait_ms=wait_ms, **more)
    return list(effects.Claim(request, timeout=WAIT_S).deliveries)


def pulled(client, effects):
    assert claim(effects, "jobs", "w", "anne", lease_ms=1500, max_deliver=3, backoff_ms=10) == []
    for number in range(4):
        assert client.publish(f"j{number}", topic="jobs").success
    first = claim(effects, "jobs", "w", "anne", count=3, wait_ms=5000)
    while len(first) < 3:
        first += claim(effects, "jobs", "w", "anne", count=3 - len(first), wait_ms=5000)
    assert [held.attempt for held in first] == [1, 1, 1] and first[0].ack_timeout_ms == 1500, first
    # Nothing comes to who does not ask, and what is held is not told again.
    assert len(claim(effects, "jobs", "w", "anne", count=10)) == 1
    assert claim(effects, "jobs", "w", "bert", count=10) == []
    done = lambda held: effects.Complete(ext.CompleteRequest(delivery_id=held.delivery_id), timeout=WAIT_S)
    fail = lambda held, **more: effects.Fail(ext.FailRequest(delivery_id=held.delivery_id, error="no", **more), timeout=WAIT_S)
    renew = lambda held: effects.Renew(ext.RenewRequest(delivery_id=held.delivery_id), timeout=WAIT_S)
    assert done(first[0]).success
    again = done(first[0])
    assert not again.success and "not being delivered" in again.error, again
    assert fail(first[1], give_up=True).success
    assert fail(first[2], retry_delay_ms=50).success
    retried = claim(effects, "jobs", "w", "bert", wait_ms=5000)
    assert [held.event.message_id for held in retried] == [first[2].event.message_id] and retried[0].attempt == 2
    assert retried[0].fencing_token > first[2].fencing_token
    late = done(first[2])
    assert not late.success and "attempt 2 is open" in late.error, late
    # Who renews keeps it beyond its lease; the last one, which nobody renews, goes to others.
    for _ in range(4):
        time.sleep(0.6)
        assert renew(retried[0]).success
    lost = claim(effects, "jobs", "w", "bert", wait_ms=5000)
    assert len(lost) == 1 and lost[0].attempt == 2, lost
    states = lambda: {
        (listed.event.message_id, listed.delivery.state)
        for listed in effects.List(ext.ListEffectsRequest(topic="jobs", consumer_group="w", state="DEAD"), timeout=WAIT_S).events
    }
    assert states() == {(first[1].event.message_id, "FAILED_TERMINAL")}, states()
    seen, page = set(), ""
    while True:
        answer = effects.List(ext.ListEffectsRequest(topic="jobs", consumer_group="w", page=page), timeout=WAIT_S)
        seen |= {(listed.event.message_id, listed.delivery.state) for listed in answer.events}
        page = answer.next_page
        if not page:
            break
    assert {state for _, state in seen} == {"PROCESSING", "FAILED_TERMINAL"} and len(seen) == 3, seen
    assert effects.Retry(ext.ReviveRequest(topic="jobs", consumer_group="w"), timeout=WAIT_S).count == 1
    revived = claim(effects, "jobs", "w", "anne", wait_ms=5000)
    assert fail(revived[0], give_up=True).success
    dead = ext_rpc.DeadLetterServiceStub(client.channel).List(ext.ListDeadRequest(topic="jobs", consumer_group="w"), timeout=WAIT_S).letters
    name = ext.LetterName(partition_id=dead[0].event.partition_id, ready_seq=dead[0].ready_seq)
    assert effects.Abandon(ext.ReviveRequest(topic="jobs", consumer_group="w", letters=[name]), timeout=WAIT_S).count == 1
    assert states() == set()
    assert done(retried[0]).success and done(lost[0]).success
    # Who waits hears of what comes, soon.
    claimed = []
    waiting = threading.Thread(target=lambda: claimed.append((claim(effects, "jobs", "w", "bert", wait_ms=20_000), time.monotonic())))
    waiting.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert client.publish("awaited", topic="jobs").success
    waiting.join()
    (held, at), = claimed
    assert len(held) == 1 and at - began < 2, (held, at - began)
    assert done(held[0]).success
    began = time.monotonic()
    assert claim(effects, "jobs", "w", "bert", wait_ms=300) == [] and 0.25 < time.monotonic() - began < 3
    workers_share(client, effects)


def workers_share(client, effects):
    """Eight workers that wait together get each event once."""
    count, done, lock = 200, collections.Counter(), threading.Lock()

    def work(name):
        while True:
            held = claim(effects, "shared-jobs", "w", name, count=5, wait_ms=1000)
            if not held and sum(done.values()) >= count:
                return
            for delivery in held:
                assert effects.Complete(ext.CompleteRequest(delivery_id=delivery.delivery_id), timeout=WAIT_S).success
                with lock:
                    done[delivery.event.message_id] += 1

    workers = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(8)]
    claim(effects, "shared-jobs", "w", "first", lease_ms=20_000)
    for worker in workers:
        worker.start()
    for number in range(count):
        assert client.publish(f"s{number}", topic="shared-jobs").success
    for worker in workers:
        worker.join(WAIT_S)
    assert len(done) == count and set(done.values()) == {1}, done


def what_is_refused(effects):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    wrong = lambda **what: refused_with(invalid, lambda: effects.Claim(ext.ClaimRequest(**what), timeout=WAIT_S))
    assert "worker is required" in wrong(topic="jobs", consumer_group="w")
    assert "consumer_group is required" in wrong(topic="jobs", worker="a")
    assert "1 to 1000" in wrong(topic="jobs", consumer_group="w", worker="a", count=1001)
    assert "0 to 60000" in wrong(topic="jobs", consumer_group="w", worker="a", wait_ms=60_001)
    assert "other options" in wrong(topic="jobs", consumer_group="w", worker="a", lease_ms=9999)
    nothing = lambda: effects.Abandon(ext.ReviveRequest(topic="jobs", consumer_group="w"), timeout=WAIT_S)
    assert "letters is required" in refused_with(invalid, nothing)
    both = lambda: effects.Fail(ext.FailRequest(delivery_id="x", give_up=True, retry_delay_ms=1), timeout=WAIT_S)
    assert "give_up" in refused_with(invalid, both)
    unknown = effects.Complete(ext.CompleteRequest(delivery_id="nonsense"), timeout=WAIT_S)
    assert not unknown.success and "nonsense" in unknown.error, unknown
    fast = lambda: set_endpoint(effects, "fast", "jobs", "http://127.0.0.1:1/in/", rate_per_s=1_000_001)
    assert "events a second" in refused_with(invalid, fast)


def before_a_restart(client):
    """What a worker holds when the node is killed; for `after_a_restart`."""
    effects = ext_rpc.EffectServiceStub(client.channel)
    claim(effects, "survivors", "w", "anne", lease_ms=60_000)
    for number in range(3):
        assert client.publish(f"k{number}", topic="survivors").success
    held = []
    while len(held) < 2:
        held += claim(effects, "survivors", "w", "anne", count=2 - len(held), wait_ms=5000)
    return held


def after_a_restart(client, held):
    """The worker goes on with what it held, under its name and tokens; nobody else was given that."""
    effects = ext_rpc.EffectServiceStub(client.channel)
    third = claim(effects, "survivors", "w", "bert", count=10, wait_ms=5000)
    assert len(third) == 1 and third[0].attempt == 1, third
    assert effects.Renew(ext.RenewRequest(delivery_id=held[0].delivery_id), timeout=WAIT_S).success
    for delivery in held + third:
        completed = effects.Complete(ext.CompleteRequest(delivery_id=delivery.delivery_id), timeout=WAIT_S)
        assert completed.success, completed
    assert claim(effects, "survivors", "w", "bert", count=10, wait_ms=200) == []


def of_members(clients, fourth, address):
    """Node 4 is added, votes, replaces nobody, and is removed; `fourth` starts it."""
    cluster = ext_rpc.ClusterServiceStub(clients[0].channel)
    groups = lambda: cluster.Status(ext.ClusterStatusRequest(), timeout=WAIT_S).groups
    voters = lambda: [sorted(member.node for member in group.members if member.votes) for group in groups()]
    invalid, impossible = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
    add = lambda **what: list(cluster.AddNode(ext.AddNodeRequest(**what), timeout=4 * WAIT_S))
    remove = lambda **what: list(cluster.RemoveNode(ext.RemoveNodeRequest(**what), timeout=4 * WAIT_S))
    assert "node is 0" in refused_with(invalid, lambda: add(node=0, address=address))
    assert "IP:PORT" in refused_with(invalid, lambda: add(node=4, address="here"))
    assert "node 9 is a member of no group" in refused_with(grpc.StatusCode.NOT_FOUND, lambda: remove(node=9))
    # A node that does not run learns nothing, and is told to wait for.
    late = lambda: add(node=4, address=address, patience_ms=1000)
    assert "promote" in refused_with(grpc.StatusCode.UNAVAILABLE, late)
    fourth()
    steps = add(node=4, address=address)
    done = [(step.group, step.change.split("{")[0]) for step in steps if step.done]
    assert done[-1][1] == "promote" and {group for group, _ in done} <= {0, 1, 2}, steps
    until("node 4 votes in each group", lambda: voters() == [[1, 2, 3, 4]] * 3)
    assert add(node=4, address=address) == [], "all was done before"
    ext_rpc.TopicServiceStub(clients[0].channel).CreateTopic(ext.CreateTopicRequest(topic="members"), timeout=WAIT_S)
    for number in range(20):
        assert clients[1].publish(f"m{number}", topic="members").success
    steps = remove(node=4)
    assert [step.group for step in steps if step.done] == [0, 1, 2], steps
    until("node 4 votes nowhere", lambda: voters() == [[1, 2, 3]] * 3)


def last_voter(client):
    """The only voter of a cluster cannot leave."""
    cluster = ext_rpc.ClusterServiceStub(client.channel)
    leave = lambda: list(cluster.RemoveNode(ext.RemoveNodeRequest(node=1), timeout=WAIT_S))
    why = refused_with(grpc.StatusCode.FAILED_PRECONDITION, leave)
    assert "0 voters would be left" in why, why

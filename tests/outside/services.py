"""The services beside `EventService`, each RPC asked by a client that is not ours. Imported once there are stubs."""

import shutil
import subprocess
import threading
import time
import urllib.request

import cronos_db_ext_pb2 as ext
import cronos_db_ext_pb2_grpc as ext_rpc
import cronos_db_pb2 as pb
import cronos_db_pb2_grpc as rpc
import grpc

WAIT_S = 30
HOUR_MS = 3_600_000


def now_ms():
    return int(time.time() * 1000)


def refused_with(code, call):
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise AssertionError(f"it was answered: {answer}")


def of_one_node(client):
    partitions(client)
    consensus(client)
    replication(client)
    altered_topic(client)
    consumer_groups(client)
    administered_groups(client)
    paused_and_deleted_topics(client)
    listed_by_state(client)
    watched(client)


def partitions(client):
    topics = ext_rpc.TopicServiceStub(client.channel)
    topics.CreateTopic(ext.CreateTopicRequest(topic="parts", partitions=2), timeout=WAIT_S)
    assert client.publish("later", topic="parts", due_ms=now_ms() + HOUR_MS).success
    asked = rpc.PartitionServiceStub(client.channel)
    listed = asked.ListPartitions(pb.ListPartitionsRequest(topic="parts"), timeout=WAIT_S).partitions
    assert len(listed) == 2 and all(known.leader_id == "1" for known in listed), listed
    assert all(list(known.replica_ids) == ["1"] for known in listed), listed
    used = next(known for known in listed if known.last_offset == 0)
    scheduler = asked.GetSchedulerStatus(pb.GetSchedulerStatusRequest(partition_id=used.partition_id), timeout=WAIT_S)
    assert (scheduler.active_timers, scheduler.ready_events) == (1, 0), scheduler
    wal = asked.GetWALStatus(pb.GetWALStatusRequest(partition_id=used.partition_id), timeout=WAIT_S)
    assert (wal.first_offset, wal.last_offset) == (0, 0), wal
    assert wal.segment_files and wal.total_size_bytes > 0 and wal.available_space_bytes > 0, wal
    assert wal.oldest_segment_ts <= wal.newest_segment_ts <= now_ms() + 1000, wal
    compacted = asked.Compact(pb.CompactRequest(partition_id=used.partition_id), timeout=WAIT_S)
    assert not compacted.success and "by itself" in compacted.error, compacted
    split = pb.SplitPartitionRequest(source_partition_id=used.partition_id, new_partition_id=7)
    answer = asked.SplitPartition(split, timeout=WAIT_S)
    assert not answer.success and "2 partitions, for good" in answer.error, answer
    unknown = lambda: asked.GetWALStatus(pb.GetWALStatusRequest(partition_id=-5), timeout=WAIT_S)
    assert "-5" in refused_with(grpc.StatusCode.NOT_FOUND, unknown)


def consensus(client):
    raft = rpc.RaftServiceStub(client.channel)
    asked = rpc.PartitionServiceStub(client.channel)
    partition = asked.ListPartitions(pb.ListPartitionsRequest(topic="parts"), timeout=WAIT_S).partitions[0]
    for request in (pb.RaftStatusRequest(), pb.RaftStatusRequest(partition_id=partition.partition_id)):
        status = raft.Status(request, timeout=WAIT_S)
        assert (status.node_id, status.is_leader, status.leader_id, list(status.peers)) == ("1", True, "1", [])
        assert status.term > 0 and 0 < status.last_applied <= status.commit_index, status
    joined = raft.Join(pb.RaftJoinRequest(node_id="9", address="127.0.0.1:1"), timeout=WAIT_S)
    assert not joined.success and "chronon cluster add" in joined.error, joined
    left = raft.Leave(pb.RaftLeaveRequest(node_id="1"), timeout=WAIT_S)
    assert not left.success and "chronon cluster remove" in left.error, left
    transactions = rpc.TransactionServiceStub(client.channel)
    for answer in (
        transactions.BeginTransaction(pb.BeginTransactionRequest(transaction_id="t"), timeout=WAIT_S),
        transactions.PrepareTransaction(pb.PrepareTransactionRequest(transaction_id="t"), timeout=WAIT_S),
        transactions.CommitTransaction(pb.CommitTransactionRequest(transaction_id="t"), timeout=WAIT_S),
        transactions.AbortTransaction(pb.AbortTransactionRequest(transaction_id="t"), timeout=WAIT_S),
    ):
        assert not answer.success and "no transactions" in answer.error, answer
    cluster = ext_rpc.ClusterServiceStub(client.channel)
    groups = cluster.Status(ext.ClusterStatusRequest(), timeout=WAIT_S).groups
    assert {"catalog", "events"} <= {group.kind for group in groups}, groups
    for group in groups:
        assert group.leader == 1 and [(member.node, member.votes) for member in group.members] == [(1, True)], group
    events = next(group.group for group in groups if group.kind == "events")
    moved = cluster.TransferLeader(ext.TransferLeaderRequest(group=events, node=1), timeout=WAIT_S)
    assert moved.success, moved
    moved = cluster.TransferLeader(ext.TransferLeaderRequest(group=events, node=2), timeout=WAIT_S)
    assert not moved.success and "no voter" in moved.error, moved


def replication(client):
    topics = ext_rpc.TopicServiceStub(client.channel)
    made = topics.CreateTopic(ext.CreateTopicRequest(topic="synced", partitions=1), timeout=WAIT_S)
    described = topics.DescribeTopic(ext.DescribeTopicRequest(topic=made.topic), timeout=WAIT_S)
    partition = described.partitions[0].partition_id
    for number in range(5):
        assert client.publish(f"r{number}", topic="synced", payload=b"x" * 400_000).success
    asked = rpc.ReplicationServiceStub(client.channel)
    appended = asked.Append(pb.ReplicationAppendRequest(partition_id=partition), timeout=WAIT_S)
    assert not appended.success and "publish" in appended.error, appended
    pages = list(asked.Sync(pb.ReplicationSyncRequest(partition_id=partition, start_offset=1), timeout=WAIT_S))
    events = [event for page in pages for event in page.events]
    assert [event.message_id for event in events] == ["r1", "r2", "r3", "r4"], pages
    assert len(pages) > 2 and [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]
    part = list(asked.Sync(pb.ReplicationSyncRequest(partition_id=partition, max_bytes=400_000), timeout=WAIT_S))
    assert sum(len(page.events) for page in part) == 1 and part[-1].has_more and part[-1].next_offset == 1


def altered_topic(client):
    topics = ext_rpc.TopicServiceStub(client.channel)
    before = topics.CreateTopic(ext.CreateTopicRequest(topic="altered"), timeout=WAIT_S)
    assert client.publish("long", topic="altered", payload=b"p" * 101).success
    wanted = ext.AlterTopicRequest(topic="altered", payload_bytes_max=100, pending_max=1)
    after = topics.AlterTopic(wanted, timeout=WAIT_S)
    assert (after.payload_bytes_max, after.pending_max) == (100, 1) and after.revision > before.revision, after
    assert (after.dedup_window_ms, after.strict) == (before.dedup_window_ms, before.strict), after
    answer = client.publish("longer", topic="altered", payload=b"p" * 101)
    assert (answer.success, answer.error) == (False, "payload exceeds 100 bytes"), answer
    zero = ext.AlterTopicRequest(topic="altered", payload_bytes_max=0)
    why = refused_with(grpc.StatusCode.INVALID_ARGUMENT, lambda: topics.AlterTopic(zero, timeout=WAIT_S))
    assert "payload_bytes_max is 0: it is 1 to" in why, why
    none = ext.AlterTopicRequest(topic="none", pending_max=1)
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: topics.AlterTopic(none, timeout=WAIT_S))


def consumer_groups(client):
    groups = ext_rpc.GroupServiceStub(client.channel)
    made = pb.CreateConsumerGroupRequest(group_id="workers", topic="parts", mode=pb.ORDERED, max_deliver=3)
    info = groups.CreateGroup(made, timeout=WAIT_S)
    assert (info.mode, info.max_deliver, info.ack_timeout_ms) == (pb.ORDERED, 3, 30_000), info
    assert client.publish("lags", topic="parts").success
    info = groups.DescribeGroup(ext.DescribeGroupRequest(topic="parts", consumer_group="workers"), timeout=WAIT_S)
    assert len(info.partitions) == 2 and sum(known.lag for known in info.partitions) == 1, info
    none = ext.DescribeGroupRequest(topic="parts", consumer_group="none")
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: groups.DescribeGroup(none, timeout=WAIT_S))
    before = rpc.ConsumerGroupServiceStub(client.channel)
    listed = before.ListConsumerGroups(pb.ListConsumerGroupsRequest(topic="parts"), timeout=WAIT_S).groups
    assert [(group.group_id, len(group.partitions), group.lag) for group in listed] == [("workers", 2, 1)], listed
    everywhere = before.ListConsumerGroups(pb.ListConsumerGroupsRequest(), timeout=WAIT_S).groups
    assert "workers" in [group.group_id for group in everywhere], everywhere
    ids = [known.partition_id for known in info.partitions]
    spread = pb.RebalanceConsumerGroupRequest(group_id="workers", member_ids=["b", "a"])
    answer = before.RebalanceConsumerGroup(spread, timeout=WAIT_S)
    assert answer.success and dict(answer.partition_assignments) == {"a": ids[0], "b": ids[1]}, answer
    alone = pb.RebalanceConsumerGroupRequest(group_id="workers", member_ids=["a"])
    assert dict(before.RebalanceConsumerGroup(alone, timeout=WAIT_S).partition_assignments) == {"a": -1}
    unknown = pb.RebalanceConsumerGroupRequest(group_id="none", member_ids=["a"])
    answer = before.RebalanceConsumerGroup(unknown, timeout=WAIT_S)
    assert not answer.success and "none" in answer.error, answer
    # A partition alone, by the id that the answer names.
    member = client.subscribe("workers", topic="parts", partition=ids[0])
    other = client.subscribe("workers", topic="parts", partition=ids[1])
    taken = [each.nothing_comes(0.5) for each in (member, other)]
    assert [each.event.message_id for each in taken if each is not None] == ["lags"], taken
    member.close()
    other.close()


def administered_groups(client):
    groups = ext_rpc.GroupServiceStub(client.channel)
    topics = ext_rpc.TopicServiceStub(client.channel)
    topics.CreateTopic(ext.CreateTopicRequest(topic="ordered-about", partitions=2), timeout=WAIT_S)
    of = ext.GroupRequest(topic="ordered-about", consumer_group="g")
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: groups.PauseGroup(of, timeout=WAIT_S))
    ids = [f"n{number}" for number in range(8)]
    for message_id in ids:
        assert client.publish(message_id, topic="ordered-about").success
    # A group that pauses is delivered nothing, and settles what it has.
    member = client.subscribe("g", topic="ordered-about", max_buffer_size=2)
    open_before = [member.take(), member.take()]
    info = groups.PauseGroup(of, timeout=WAIT_S)
    assert info.paused and len(info.partitions) == 2, info
    answers = [member.ack(each.delivery_id) for each in open_before]
    assert all(answer.success for answer in answers), answers
    assert member.nothing_comes(1) is None
    info = groups.ResumeGroup(of, timeout=WAIT_S)
    assert not info.paused, info
    late = member.take()
    # What is open when a group is set to another place is over; everything comes once more.
    seek = ext.SeekGroupRequest(topic="ordered-about", consumer_group="g", beginning=True)
    sought = groups.SeekGroup(seek, timeout=WAIT_S).partitions
    assert [place.ready_seq for place in sought] == [0, 0] and sum(place.closed for place in sought) > 0, sought
    answer = member.ack(late.delivery_id)
    assert not answer.success and "set to another place" in answer.error, answer
    # The rest of what was open before is refused as well.
    seen = set()
    while len(seen) < len(ids):
        delivery = member.take()
        if member.ack(delivery.delivery_id).success:
            seen.add(delivery.event.message_id)
    assert seen == set(ids), seen
    listed = groups.ListGroups(ext.ListGroupsRequest(topic="ordered-about"), timeout=WAIT_S).groups
    assert [(info.consumer_group, sum(row.lag for row in info.partitions)) for info in listed] == [("g", 0)], listed
    assert "g" in [info.consumer_group for info in groups.ListGroups(ext.ListGroupsRequest(), timeout=WAIT_S).groups]
    nowhere = ext.SeekGroupRequest(topic="ordered-about", consumer_group="g")
    assert "beginning" in refused_with(
        grpc.StatusCode.INVALID_ARGUMENT, lambda: groups.SeekGroup(nowhere, timeout=WAIT_S)
    )
    alter = ext.AlterGroupRequest(topic="ordered-about", consumer_group="g", max_deliver=7, ack_timeout_ms=20_000)
    info = groups.AlterGroup(alter, timeout=WAIT_S)
    assert (info.max_deliver, info.ack_timeout_ms, info.backoff_ms) == (7, 20_000, 1000), info
    alter = ext.AlterGroupRequest(topic="ordered-about", consumer_group="g", ack_timeout_ms=1)
    refused_with(grpc.StatusCode.INVALID_ARGUMENT, lambda: groups.AlterGroup(alter, timeout=WAIT_S))
    picky = client.subscribe("picky", topic="ordered-about", filter={"region": "eu"})
    assert "filter must be empty" in refused_with(grpc.StatusCode.INVALID_ARGUMENT, picky.take)
    picky.close()
    # A group with members is deleted by force alone; their subscriptions end, and it is not made again by them.
    delete = ext.DeleteGroupRequest(topic="ordered-about", consumer_group="g")
    assert "members" in refused_with(
        grpc.StatusCode.INVALID_ARGUMENT, lambda: groups.DeleteGroup(delete, timeout=WAIT_S)
    )
    delete.force = True
    gone = groups.DeleteGroup(delete, timeout=WAIT_S)
    assert (gone.closed, gone.dead) == (0, 0), gone
    assert "was deleted" in refused_with(grpc.StatusCode.NOT_FOUND, member.take)
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: groups.DeleteGroup(delete, timeout=WAIT_S))
    assert not groups.ListGroups(ext.ListGroupsRequest(topic="ordered-about"), timeout=WAIT_S).groups
    again = client.subscribe("g", topic="ordered-about")
    assert {again.take().event.message_id for _ in ids} == set(ids)
    member.close()
    again.close()


def paused_and_deleted_topics(client):
    topics = ext_rpc.TopicServiceStub(client.channel)
    fates = ext_rpc.LifecycleServiceStub(client.channel)
    topics.CreateTopic(ext.CreateTopicRequest(topic="paused-then-gone", partitions=2), timeout=WAIT_S)
    member = client.subscribe("g", topic="paused-then-gone")
    of = ext.PauseTopicRequest(topic="paused-then-gone")
    assert topics.PauseTopic(of, timeout=WAIT_S).paused
    # Publishing goes on, and what becomes ready waits.
    assert client.publish("waits", topic="paused-then-gone").success
    assert client.publish("later", topic="paused-then-gone", due_ms=now_ms() + HOUR_MS).success
    assert member.nothing_comes(1) is None
    asked = ext.DescribeTopicRequest(topic="paused-then-gone")
    assert topics.DescribeTopic(asked, timeout=WAIT_S).paused
    assert not topics.ResumeTopic(of, timeout=WAIT_S).paused
    late = member.take()
    assert late.event.message_id == "waits", late
    # It is deleted by who says its name twice; what belongs to it ends.
    delete = ext.DeleteTopicRequest(topic="paused-then-gone", confirm="another")
    assert "once more" in refused_with(
        grpc.StatusCode.INVALID_ARGUMENT, lambda: topics.DeleteTopic(delete, timeout=WAIT_S)
    )
    delete.confirm = "paused-then-gone"
    gone = topics.DeleteTopic(delete, timeout=WAIT_S)
    assert (gone.scheduled, gone.ready, gone.dead) == (1, 1, 0), gone
    assert "was deleted" in refused_with(grpc.StatusCode.NOT_FOUND, member.take)
    assert not member.ack(late.delivery_id).success
    asked_fate = ext.GetEventRequest(topic="paused-then-gone", message_id="later")
    assert "no such topic" in refused_with(
        grpc.StatusCode.NOT_FOUND, lambda: fates.GetEvent(asked_fate, timeout=WAIT_S)
    )
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: topics.DescribeTopic(asked, timeout=WAIT_S))
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: topics.DeleteTopic(delete, timeout=WAIT_S))
    assert "paused-then-gone" not in topics.ListTopics(ext.ListTopicsRequest(), timeout=WAIT_S).topics
    # Its name is free for another one, which knows nothing of it.
    topics.CreateTopic(ext.CreateTopicRequest(topic="paused-then-gone", partitions=1), timeout=WAIT_S)
    answer = client.publish("later", topic="paused-then-gone")
    assert answer.success and answer.offset == 0, answer
    again = client.subscribe("g", topic="paused-then-gone")
    delivery = again.take()
    assert delivery.event.message_id == "later" and again.ack(delivery.delivery_id).success, delivery
    assert again.nothing_comes(0.5) is None
    member.close()
    again.close()


def listed_by_state(client):
    fates = ext_rpc.LifecycleServiceStub(client.channel)

    def listed(state, **more):
        request = ext.ListByStateRequest(topic="states", state=state, **more)
        names, pages = [], 0
        while True:
            answer = fates.ListByState(request, timeout=WAIT_S)
            names += [row.event.message_id for row in answer.events]
            pages += 1
            if not answer.next_page:
                return sorted(names), pages
            request.page = answer.next_page

    for number in range(7):
        assert client.publish(f"due{number}", topic="states").success
        assert client.publish(f"later{number}", topic="states", due_ms=now_ms() + HOUR_MS).success
    assert listed("SCHEDULED") == ([f"later{number}" for number in range(7)], 1)
    names, pages = listed("SCHEDULED", limit=2)
    assert names == [f"later{number}" for number in range(7)] and pages >= 4, (names, pages)
    # Long payloads make short pages.
    for number in range(3):
        assert client.publish(f"long{number}", topic="states", due_ms=now_ms() + HOUR_MS, payload=b"x" * 3_000_000).success
    names, pages = listed("SCHEDULED")
    assert names == sorted([f"later{number}" for number in range(7)] + [f"long{number}" for number in range(3)]), names
    assert pages >= 3, pages
    for number in range(3):
        schedule = ext_rpc.ScheduleServiceStub(client.channel)
        cancel = ext.CancelRequest(topic="states", message_id=f"long{number}")
        assert schedule.Cancel(cancel, timeout=WAIT_S).success
    assert listed("READY", limit=3)[0] == [f"due{number}" for number in range(7)]
    assert listed("PROCESSED")[0] == []
    member = client.subscribe("g", topic="states", max_deliver=1)
    for _ in range(7):
        delivery = member.take()
        if delivery.event.message_id in ("due0", "due1", "due2"):
            ok = delivery.event.message_id != "due2"
            assert member.ack(delivery.delivery_id, success=ok, error="" if ok else "poison").success
    assert listed("PROCESSED", consumer_group="g")[0] == ["due0", "due1"]
    assert listed("PROCESSING", consumer_group="g")[0] == ["due3", "due4", "due5", "due6"]
    request = ext.ListByStateRequest(topic="states", state="DEAD", consumer_group="g")
    dead = fates.ListByState(request, timeout=WAIT_S).events
    assert [(row.event.message_id, row.delivery.why) for row in dead] == [("due2", "poison")], dead
    assert listed("BUFFERED", consumer_group="g")[0] == [] == listed("FAILED_RETRYABLE", consumer_group="g")[0]
    for state, more, code in (
        ("DONE", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("DEAD", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("DEAD", dict(consumer_group="none"), grpc.StatusCode.NOT_FOUND),
        ("READY", dict(page="nonsense"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        refused_with(code, lambda: listed(state, **more))
    member.close()


def watched(client):
    fates = ext_rpc.LifecycleServiceStub(client.channel)
    member = client.subscribe("g", topic="watched", backoff_ms=100)
    assert client.publish("w", topic="watched", due_ms=now_ms() + 700).success
    told = []
    stream = fates.WatchEvent(ext.GetEventRequest(topic="watched", message_id="w"), timeout=WAIT_S)
    watcher = threading.Thread(target=lambda: told.extend(stream), daemon=True)
    watcher.start()
    first = member.take()
    assert member.ack(first.delivery_id, success=False, error="once more").success
    again = member.take()
    assert member.ack(again.delivery_id).success
    watcher.join(WAIT_S)
    assert not watcher.is_alive(), f"the stream goes on after {told}"
    states = [(fate.state, [delivery.state for delivery in fate.deliveries]) for fate in told]
    assert states[0] == ("SCHEDULED", []) and states[-1] == ("PROCESSED", ["PROCESSED"]), states
    assert ("READY", ["PROCESSING"]) in states and ("READY", ["FAILED_RETRYABLE"]) in states, states
    flooded(client, fates)
    gone = ext.GetEventRequest(topic="watched", message_id="never")
    refused_with(grpc.StatusCode.NOT_FOUND, lambda: list(fates.WatchEvent(gone, timeout=WAIT_S)))
    member.close()


def flooded(client, fates):
    """So many may watch at one node, and there is room again when they leave."""
    assert client.publish("wait", topic="watched", due_ms=now_ms() + HOUR_MS).success
    wait = ext.GetEventRequest(topic="watched", message_id="wait")
    watchers = [fates.WatchEvent(wait, timeout=WAIT_S) for _ in range(1010)]
    refused = 0
    for watcher in watchers:
        try:
            assert next(watcher).state == "SCHEDULED"
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "1000 watchers" in error.details(), error
            refused += 1
    assert refused == 10, refused
    for watcher in watchers:
        watcher.cancel()
    deadline = time.monotonic() + WAIT_S
    while True:
        again = fates.WatchEvent(wait, timeout=WAIT_S)
        try:
            assert next(again).state == "SCHEDULED"
            break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < deadline, error
            time.sleep(0.05)
    again.cancel()


def of_three_nodes(clients):
    """`clients` talk to nodes 1, 2 and 3."""
    cluster = ext_rpc.ClusterServiceStub(clients[0].channel)
    events = lambda: next(g for g in cluster.Status(ext.ClusterStatusRequest(), timeout=WAIT_S).groups if g.group == 1)
    status = events()
    assert [member.node for member in status.members] == [1, 2, 3] and status.leader in (1, 2, 3), status
    next_leader = status.leader % 3 + 1
    moved = cluster.TransferLeader(ext.TransferLeaderRequest(group=1, node=next_leader), timeout=WAIT_S)
    assert moved.success, moved
    assert events().leader == next_leader, events()
    # Group 1 is the first group of partitions: who leads it says so, and the others name it, in the same term.
    deadline = time.monotonic() + WAIT_S
    while True:
        said = [rpc.RaftServiceStub(client.channel).Status(pb.RaftStatusRequest(), timeout=WAIT_S) for client in clients]
        if [status.leader_id for status in said] == [str(next_leader)] * 3:
            break
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    assert [status.is_leader for status in said] == [node + 1 == next_leader for node in range(3)], said
    assert len({status.term for status in said}) == 1 and {status.group for status in said} == {1}, said
    assert [sorted(status.peers) for status in said] == [["2", "3"], ["1", "3"], ["1", "2"]], said


def of_metrics(http):
    """What `/metrics` says by now, and whether Prometheus takes it."""
    def scraped():
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=2) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
            return answer.read().decode()

    of_consumer = lambda name, topic, group: f'chronon_{name}{{topic="{topic}",consumer_group="{group}"}}'
    deadline = time.monotonic() + WAIT_S
    while True:
        text = scraped()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        # Topics are looked at every few seconds. What a member with one attempt had when it left is dead as well.
        if values.get(of_consumer("consumer_group_dead_letters", "states", "g")) == "5":
            break
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    assert values['chronon_topic_scheduled_events{topic="states"}'] == "7"
    assert values[of_consumer("consumer_group_lag", "parts", "workers")] == "1"
    assert int(values["chronon_flush_seconds_count"]) > 100
    # An event that was due in 1970 when it was published is not late by so much.
    late, count = (float(values[f"chronon_delivery_lateness_seconds_{end}"]) for end in ("sum", "count"))
    assert count > 100 and late / count < 10, (late, count)
    assert float(values["chronon_flush_seconds_sum"]) > 0
    for counter in ("view_changes", "disk_faults_found", "side_effects_fenced", "side_effects_failed"):
        assert int(values[f"chronon_{counter}_total"]) >= 0
    for what in ("entry", "chunk", "manifest", "snapshot"):
        assert int(values[f'chronon_disk_faults_repaired_total{{what="{what}"}}']) >= 0
    assert 0 <= float(values['chronon_group_alarm_overdue_seconds{group="4"}']) < 5
    assert float(values['chronon_group_side_effects_oldest_seconds{group="2"}']) == 0
    is_clean(text)


def is_clean(text):
    """By the rules of promtool: every series has words and a kind, and the ending that its kind takes."""
    kinds, words = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name not in kinds, f"{name} comes twice"
            kinds[name] = kind
        elif line.startswith("# HELP "):
            _, _, name, said = line.split(" ", 3)
            assert said, line
            words.add(name)
        else:
            assert not line.startswith("#"), line
            series = line.split("{")[0].split(" ")[0]
            family = next((series.removesuffix(end) for end in ("_bucket", "_count", "_sum")
                           if kinds.get(series.removesuffix(end)) == "histogram"), series)
            assert family in kinds and family in words, line
            assert family.startswith("chronon_") and "_ms" not in family and "_milli" not in family, line
            assert (kinds[family] == "counter") == family.endswith("_total"), line
            assert "message_id=" not in line and "offset=" not in line, line
    promtool = shutil.which("promtool")
    if promtool is not None:
        checked = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True)
        assert checked.returncode == 0, checked.stderr.decode() + checked.stdout.decode()

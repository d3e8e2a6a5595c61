"""Trace context that events carry: what is logged of them, and who is told. Imported once there are stubs."""

import cronos_db_ext_pb2 as ext
import cronos_db_ext_pb2_grpc as ext_rpc
from services import WAIT_S
from workers import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def of_one_node(client, sink, logged):
    """`logged` gives the lines that the node has logged."""
    endpoint = ext.Endpoint(topic="traced", name="traced", target=sink.url + "traced")
    ext_rpc.EffectServiceStub(client.channel).SetEndpoint(ext.SetEndpointRequest(endpoint=endpoint), timeout=WAIT_S)
    sampled = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    passed_by = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    for name, meta in (("sampled", sampled), ("passed-by", passed_by), ("untraced", {})):
        assert client.publish(name, topic="traced", meta=meta).success
    assert not client.publish("sampled", topic="traced", meta=sampled).success
    until("all are posted", lambda: len(sink.to("traced")) == 3)
    told = {headers["Chronon-Message-Id"]: (headers["traceparent"], headers["tracestate"]) for headers, _ in sink.to("traced")}
    # Whoever is posted to gets the context of a trace that is not sampled as well.
    assert told["sampled"] == (sampled["traceparent"], "vendor=1"), told
    assert told["passed-by"] == (passed_by["traceparent"], None), told
    assert told["untraced"] == (None, None), told
    lines = [line for line in logged() if "trace_id" in line]
    assert all(line["trace_id"] == TRACE and line["parent_id"] == PARENT and line["topic"] == "traced" for line in lines), lines
    # The second may be refused before or after the first is delivered.
    assert sorted((line["message"], line["message_id"]) for line in lines) == [
        ("accepted", "sampled"),
        ("delivered", "sampled"),
        ("duplicate", "sampled"),
    ], lines

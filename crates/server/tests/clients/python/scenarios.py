"""paho-mqtt against a running server: scenarios.py NAME URL. Each runs with MQTT 3.1.1 and 5.

Over TLS, CA_FILE says whom to trust, and CERT_FILE and KEY_FILE what to show.
"""

import json
import os
import queue
import sys
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

DEADLINE = 60  # seconds anything may take
V311, V5 = paho.MQTTv311, paho.MQTTv5


class Client:
    """A connected client whose events are taken from queues."""

    def __init__(self, version, name="", lasting=False, will=None, keep_alive=60):
        clean = {} if version == V5 else {"clean_session": not lasting}
        self.version = version
        self.connected, self.messages, self.answers = queue.Queue(), queue.Queue(), queue.Queue()
        transport = "websockets" if URL.scheme in ("ws", "wss") else "tcp"
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version, transport=transport, **clean)
        if URL.path:
            self.paho.ws_set_options(path=URL.path)
        if URL.scheme in ("mqtts", "wss"):
            self.paho.tls_set(os.environ["CA_FILE"], os.environ.get("CERT_FILE"), os.environ.get("KEY_FILE"))
        self.paho.on_connect = lambda client, data, flags, reason, properties: self.connected.put((flags, reason, properties))
        self.paho.on_message = lambda client, data, message: self.messages.put(message)
        self.paho.on_subscribe = lambda client, data, mid, reasons, properties: self.answers.put(reasons)
        self.paho.on_publish = lambda client, data, mid, reason, properties: self.answers.put(reason)
        self.pings, self.gone = queue.Queue(), queue.Queue()
        self.paho.on_disconnect = lambda client, data, flags, reason, properties: self.gone.put(reason)
        self.paho.on_log = lambda client, data, level, text: "PINGRESP" in text and self.pings.put(text)
        if will:
            self.paho.will_set(*will)
        options = {}
        if version == V5:
            options["clean_start"] = not lasting
            if lasting:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 3600
        self.paho.connect(URL.hostname, URL.port, keep_alive, **options)
        self.paho.loop_start()
        flags, reason, self.told = self.connected.get(timeout=DEADLINE)
        assert not reason.is_failure, reason
        self.session_present = flags.session_present

    def subscribe(self, topic, qos=0, **options):
        self.paho.subscribe(topic, qos, **options)
        for reason in self.answers.get(timeout=DEADLINE):
            assert not reason.is_failure, (topic, reason)

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        """Publishes, and returns the reason once it is acknowledged."""
        self.paho.publish(topic, payload, qos, retain, properties)
        return self.answers.get(timeout=DEADLINE)

    def message(self):
        return self.messages.get(timeout=DEADLINE)

    def json(self):
        return json.loads(self.message().payload)

    def disconnect(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection without a goodbye."""
        self.paho.loop_stop()
        self.paho.socket().close()


def equal(found, expected):
    assert found == expected, f"{found!r}, not {expected!r}"


def story(version):
    writer = Client(version)
    writer.publish("dog/123", '{"name":"Rex"}', retain=True)
    reader = Client(version)
    reader.subscribe("dog/#")
    first = reader.message()
    equal((first.topic, first.retain, json.loads(first.payload)), ("dog/123", True, {"id": "123", "name": "Rex"}))
    writer.publish("dog/123", '{"name":"Fido"}', retain=True)
    update = reader.message()
    equal((update.retain, json.loads(update.payload)), (False, {"id": "123", "name": "Fido"}))
    writer.publish("dog/123", "barks")
    equal(reader.message().payload, b"barks")
    writer.publish("dog/123", None, retain=True)
    equal(reader.message().payload, b"")
    late = Client(version)
    late.subscribe("dog/#")
    writer.publish("dog/last", "nothing is retained")
    equal(late.message().topic, "dog/last")


def qos(version):
    reader, writer = Client(version), Client(version)
    for granted in range(3):
        reader.subscribe(f"qos/{granted}", granted)
        for published in range(3):
            writer.publish(f"qos/{granted}", str(published), published)
            seen = reader.message()
            equal((seen.qos, seen.payload), (min(granted, published), str(published).encode()))


def session(version):
    name = f"session-{version}"
    reader = Client(version, name, lasting=True)
    equal(bool(reader.session_present), False)
    reader.subscribe("dog/#", 2)
    reader.disconnect()
    writer = Client(version)
    for number in range(20):
        writer.publish("dog/1", str(number), 1)
    reader = Client(version, name, lasting=True)
    equal(bool(reader.session_present), True)
    equal([int(reader.message().payload) for _ in range(20)], list(range(20)))
    reader.disconnect()


def will(version):
    reader = Client(version)
    reader.subscribe("will", 2)
    Client(version, will=("will", "gone", 2, False)).cut()
    equal(reader.message().payload, b"gone")


def properties(version):
    if version != V5:
        return
    reader, writer = Client(V5), Client(V5)
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 42
    reader.subscribe("mood", options=SubscribeOptions(qos=1, retainAsPublished=True), properties=identifier)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType, sent.ResponseTopic, sent.CorrelationData = "text/x-mood", "answer", b"\x00\xff"
    sent.MessageExpiryInterval, sent.PayloadFormatIndicator = 1000, 1
    sent.UserProperty = [("a", "1"), ("a", "2")]
    writer.publish("mood", "sunny", retain=True, properties=sent)
    seen = reader.message()
    got = seen.properties
    equal((seen.retain, got.SubscriptionIdentifier), (True, [42]))
    equal((got.ContentType, got.ResponseTopic, got.CorrelationData), ("text/x-mood", "answer", b"\x00\xff"))
    equal((got.PayloadFormatIndicator, got.UserProperty), (1, [("a", "1"), ("a", "2")]))
    assert 0 < got.MessageExpiryInterval <= 1000, got.MessageExpiryInterval


def refusal(version):
    writer = Client(version)
    reason = writer.publish("dog/1", '{"age":"three"}', retain=True)
    if version == V5:
        equal(reason.value, 0x99)
    reader = Client(version)
    reader.subscribe("dog/#")
    writer.publish("dog/1", '{"age":3}', retain=True)
    equal(reader.json(), {"id": "1", "age": 3})
    writer.publish("dog/1", None, retain=True)


def stream(version):
    reader, writer = Client(version), Client(version)
    reader.subscribe("stream/#", 2)
    for quality in range(3):
        for number in range(1000):
            writer.paho.publish(f"stream/{number % 10}", str(number), quality)
        equal([int(reader.message().payload) for _ in range(1000)], list(range(1000)))


def keep_alive(version):
    """The server wants to hear from everyone each second, and tells those who can be told."""
    if version == V5:
        client = Client(version, keep_alive=3600)
        equal(client.told.ServerKeepAlive, 1)
        equal(client.gone.get(timeout=DEADLINE).value, 0x8D)  # paho does not do as it is told by itself.
        client.disconnect()
    client = Client(version, keep_alive=1)
    for _ in range(3):
        equal(client.pings.get(timeout=DEADLINE), "Received PINGRESP")
    assert not client.publish("still", "there").is_failure
    assert client.gone.empty()
    client.disconnect()


if __name__ == "__main__":
    scenario, URL = globals()[sys.argv[1]], urlsplit(sys.argv[2])
    for version in (V311, V5):
        scenario(version)

#!/usr/bin/env python3
"""Measures what growth.csv says: how figures change as what they depend on grows. Takes some fifteen minutes.

    python3 docs/performance/measure.py --mqload ../shared/bench/mqload/target/release/mqload [CHART...]

Each point is the median of three runs, each of a node of its own, in memory (those of millions of records: of one).
Charts that are named are measured anew, the others stay as they are; without a name, all are.
"""
import argparse
import csv
import json
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT, TLS_PORT = 7883, 7884
SCHEMA = "type Dog @table @export {\n\tid: ID @id\n}\n"
CONFIG = f"""mqtt:
  network: {{ port: {PORT}, securePort: {TLS_PORT} }}
  limits: {{ inflight: 1000, receiveMaximum: 65535 }}
http: {{ port: null }}
authentication: {{ authorizeLocal: true }}
logging: {{ level: warn }}
storage: {{ durability: memory }}
"""


class Node:
    """A node of its own, and its end."""

    def __init__(self, config=""):
        self.folder = tempfile.TemporaryDirectory(prefix="rowcast-growth-", dir=ARGS.tmp)
        app = Path(self.folder.name)
        (app / "schema.graphql").write_text(SCHEMA)
        (app / "rowcast.yaml").write_text(CONFIG + config)
        self.process = subprocess.Popen([ARGS.rowcast, "run", app], stdout=subprocess.DEVNULL)
        until(self.is_up)

    def is_up(self):
        if self.process.poll() is not None:
            raise SystemExit("the node ended while starting")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", PORT)) == 0

    def resident(self):
        """Bytes of memory that it has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def load(self, *words):
        """What mqload says of a run."""
        command = [ARGS.mqload, *map(str, words), "--port", str(PORT), "--pid", str(self.process.pid)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        said = json.loads(done.stdout)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\nnot all was well: {said}")
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def alone(*words, config=""):
    """What mqload says of a run on a node that does nothing else."""
    with Node(config) as node:
        return node.load(*words)


def until(holds):
    """Looks every hundredth of a second."""
    while not holds():
        time.sleep(0.01)


def packet(kind, body):
    """An MQTT packet with a body of less than 128 bytes."""
    return bytes([kind, len(body)]) + body


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def sessions_away(count):
    """Makes sessions on `Dog/#` with QoS 1 whose clients go and may come back for a day, 500 at a time."""
    for first in range(0, count, 500):
        names = [f"away{number}" for number in range(first, min(first + 500, count))]
        clients = []
        for name in names:
            client = socket.create_connection(("127.0.0.1", PORT))
            connect = packet(0x10, text("MQTT") + b"\5\0" + struct.pack(">H", 60) + b"\5\x11" + struct.pack(">I", 86_400) + text(name))
            subscribe = packet(0x82, b"\0\1\0" + text("Dog/#") + b"\1")
            client.sendall(connect + subscribe)
            clients.append(client)
        for client in clients:
            heard = b""
            while b"\x90" not in heard:  # SUBACK
                heard += client.recv(4096)
            client.sendall(b"\xe0\0")
            client.close()


def payloads(size):
    said = alone("p2p", "--n", 10, "--size", size, "--window", max(2, min(100, 2_000_000 // size)), "--duration", 2)
    return {"MB": said["broker"]["out_per_cpu_s"] * size / 1e6}


def wildcards(filters):
    said = alone("wild", "--filters", filters, "--keys", 20_000, "--n", 64, "--duration", 3)
    return {"deliveries": said["broker"]["out_per_cpu_s"], "messages in": said["broker"]["in_per_cpu_s"]}


def idle(count):
    plain = alone("conn", "--n", count, "--hold", 1)
    with Node() as node:
        return {"plain": plain["bytes_per_conn"], "TLS": idle_tls(node, count)}


def idle_tls(node, count):
    before, authority = node.resident(), Path(node.folder.name) / "data/keys/ca.pem"
    command = [ARGS.rowcast, "bench", "connections", "-h", "127.0.0.1", "-p", str(TLS_PORT), "-n", str(count), "--window", "64",
               "--hold", "600", "--cafile", authority]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as clients:
        files = Path(f"/proc/{node.process.pid}/fd")
        until(lambda: len(list(files.iterdir())) >= count + 20 or clients.poll() is not None)
        time.sleep(1)
        held = node.resident()
        clients.kill()
    return (held - before) / count


def records(count):
    rounds = max(2, 500_000 // count)
    said = alone("retained-read", "--keys", count, "--n", 16, "--rounds", rounds, "--duration", 2)
    return {"by one wildcard": said["scan"]["broker"]["out_per_cpu_s"], "one at a time": said["get"]["broker"]["out_per_cpu_s"]}


def away(count):
    with Node() as node:
        sessions_away(count)
        said = node.load("p2p", "--n", 10, "--qos", 1, "--duration", 2)
    return {"events": said["broker"]["out_per_cpu_s"]}


def threads(count):
    config = f"threads: {{ count: {count}, fill: 0 }}\n"  # All of them with connections.
    messages = alone("p2p", "--n", 10, "--duration", 2, config=config)
    written = alone("retained-write", "--n", 8, "--keys", 10_000, "--duration", 2, config=config)
    return {"messages": messages["broker"]["out_per_cpu_s"], "records written": written["broker"]["in_per_cpu_s"]}


RECORDS = {"by one wildcard": "Records read per CPU second", "one at a time": "Gets of one record per CPU second"}
# What a chart is called, or those of its series where each has its own, what its points depend on, how one is measured, and
# where.
CHARTS = {
    "payloads": ("MB passed on per CPU second", "payload bytes", payloads, [77, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]),
    "filters": ("Per CPU second, by filters", "wildcard filters", wildcards, [100, 1000, 10_000, 50_000, 100_000]),
    "idle": ("Bytes per idle connection", "connections", idle, [1000, 5000, 10_000, 19_000]),
    "records": (RECORDS, "records in the table", records, [1000, 10_000, 100_000, 500_000, 1_000_000, 2_000_000, 10_000_000]),
    "away": ("QoS 1 events per CPU second", "sessions away that want each", away, [0, 1, 100, 1000, 10_000, 100_000]),
    "threads": ("Per CPU second, by threads", "threads", threads, [1, 2, 4]),
}


def titles(name):
    """What its charts are called."""
    title = CHARTS[name][0]
    return list(title.values()) if isinstance(title, dict) else [title]


def points(name):
    """The rows of a chart."""
    title, what, measure, places = CHARTS[name]
    found = {}
    for place in places:
        for _ in range(1 if name == "records" and place >= 1_000_000 else ARGS.rounds):
            for series, value in measure(place).items():
                found.setdefault((series, place), []).append(value)
        print(name, place, {series: round(statistics.median(values)) for (series, at), values in found.items() if at == place}, flush=True)
    called = title if isinstance(title, dict) else {series: title for series, _ in found}
    return [(called[series], what, series, place, round(statistics.median(values))) for (series, place), values in found.items()]


def main():
    file = HERE / "growth.csv"
    with open(file, newline="") as before:
        header, *rows = csv.reader(before)
    for name in ARGS.charts or CHARTS:
        measured = points(name)
        rows = [row for row in rows if row[0] not in titles(name)] + measured
        # As they are listed here; what is not is gone.
        rows = [row for each in CHARTS for title in titles(each) for row in rows if row[0] == title]
        with open(file, "w", newline="") as after:
            csv.writer(after, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mqload", required=True, help="the load generator")
    parser.add_argument("--rowcast", default="target/release/rowcast", help="the node [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="runs a point [%(default)s]")
    parser.add_argument("--tmp", help="where data folders go")
    parser.add_argument("charts", nargs="*", metavar="CHART", help=f"which of {', '.join(CHARTS)}; otherwise all")
    ARGS = parser.parse_args()
    if unknown := set(ARGS.charts) - set(CHARTS):
        parser.error(f"there is no chart {', '.join(unknown)}")
    main()

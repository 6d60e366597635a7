#!/usr/bin/env python3
"""Finds out which functions a start of the server runs, and writes them to startup.txt, for the linker to put side by side.

Needs valgrind and nm, and a binary with symbols:
    CARGO_PROFILE_DIST_STRIP=none cargo build --profile dist --locked
    build/startup.py target/dist/testgate
"""

import collections
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

# What one more line is worth in bytes of functions that a start does not run and that lie among the others for its lack.
BYTES_A_LINE = 1500
CONFIGURATION = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
path = "testgate.redb"
[[backend]]
id = "connect"
kind = "amazon-connect"
region = "eu-central-1"
instance_id = "11111111-2222-4333-8444-555555555555"
endpoint_url = "http://127.0.0.1:9"
[[backend]]
id = "lex"
kind = "amazon-lex-v2"
region = "eu-central-1"
endpoint_url = "http://127.0.0.1:9"
[[backend]]
id = "openmetadata"
kind = "openmetadata"
base_url = "http://127.0.0.1:9/api"
token_file = "token"
"""


def run_once(binary, folder):
    """The functions that ran from the start to an idle server, by their symbols."""
    (folder / "testgate.toml").write_text(CONFIGURATION)
    (folder / "token").write_text("none")
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={folder}/ran",
             binary, "serve", "--config", "testgate.toml"],
            cwd=folder, stdout=output, stderr=output, env=os.environ | {"HOME": str(folder)})
    while not (found := re.search(r"gRPC on (127\.0\.0\.1:\d+)", log.read_text())):
        if server.poll() is not None:
            sys.exit(f"the server ended: {log.read_text()}")
        time.sleep(0.1)
    subprocess.run([binary, "--server", f"http://{found[1]}", "backends"], check=True, stdout=subprocess.DEVNULL)
    time.sleep(10)  # what is done once a second, or some seconds after a start
    subprocess.run(["callgrind_control", "-d", str(server.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    server.send_signal(signal.SIGTERM)
    server.wait()
    lines = (folder / "ran.1").read_text().splitlines()
    names = (re.match(r"c?fn=\(\d+\) (.*)", line) for line in lines)
    return {re.sub(r"'\d+$", "", name[1]) for name in names if name}


def functions(binary):
    """Address and size by symbol."""
    lines = subprocess.run(["nm", "-S", binary], check=True, capture_output=True, text=True).stdout.splitlines()
    fields = (line.split() for line in lines)
    return {f[3]: (f[0], int(f[1], 16)) for f in fields if len(f) == 4 and f[2] in "tTwW"}


def without_hashes(symbol):
    """A symbol as a pattern that outlives a change of the compiler."""
    symbol = re.sub(r"17h[0-9a-f]{16}E", "17h*", symbol)
    symbol = re.sub(r"\bC?s[0-9A-Za-z]{5,13}_(?=\d)|Cs[0-9A-Za-z]{5,13}_", "Cs*_", symbol)
    return re.sub(r"\.llvm\.\d+", "*", symbol).split("*.")[0]


class Node:
    def __init__(self):
        self.children = collections.defaultdict(Node)
        self.total = 0
        self.ran = False

    def add(self, parts, size, ran):
        node = self
        for part in parts:
            node.total += size
            node.ran |= ran
            node = node.children[part]
        node.total += size
        node.ran |= ran

    def best(self, prefix=""):
        """The cost of the cheapest patterns that cover what ran below it, and they themselves."""
        if not self.ran:
            return 0, []
        whole = self.total + BYTES_A_LINE, [prefix if prefix.endswith("*") else prefix + "*" * bool(self.children)]
        if not self.children:
            return whole
        parts = [child.best(prefix + part) for part, child in self.children.items()]
        split = sum(cost for cost, _ in parts), [pattern for _, patterns in parts for pattern in patterns]
        return min(whole, split, key=lambda found: found[0]) if prefix else split


def main():
    sys.setrecursionlimit(10_000)  # the parts of the longest symbol
    binary = os.path.abspath(sys.argv[1])
    known = functions(binary)
    with tempfile.TemporaryDirectory() as folder:
        ran = {known[name][0] for name in run_once(binary, pathlib.Path(folder)) if name in known}
    # Those that came out alike are at one address, and each of their names is needed to keep them so.
    sizes, hot = {}, set()
    for name, (address, size) in known.items():
        pattern = without_hashes(name)
        sizes.setdefault(pattern, {})[address] = size
        if address in ran:
            hot.add(pattern)
    root = Node()
    for pattern, places in sizes.items():
        root.add(re.findall(r"\*|\d+|[^\d*.$]+|[.$]+", pattern), sum(places.values()), pattern in hot)
    cost, patterns = root.best()
    text = "".join(f"{pattern}\n" for pattern in sorted(patterns))
    (pathlib.Path(__file__).parent / "startup.txt").write_text(text)
    print(f"{len(patterns)} patterns, {len(text)} bytes, {cost - BYTES_A_LINE * len(patterns)} bytes of functions")


main()

"""Run load.py on mounts, stop it, and check that nothing it was told is lost."""
import itertools, os, subprocess, sys

import load
from harness import Failed, check, wait_until

numbers = itertools.count(1) # a test may run several loads: names are never used twice
HERE = os.path.dirname(os.path.abspath(__file__))


class Writer:
    def __init__(self, cluster, node, name):
        self.cluster, self.node, self.name = cluster, node, name
        base = os.path.join(os.path.dirname(cluster.dir), name)
        self.ledger, self.stop_path = base + ".ledger", base + ".stop"
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "load.py"),
                                         cluster.mnt(node, name), self.ledger, self.stop_path],
                                        stdin=subprocess.DEVNULL)

    def read(self):
        """(opened, operations done, begun, error or None, longest stall in seconds)"""
        opened, done, begun, error, longest = False, 0, 0, None, 0.0
        try:
            with open(self.ledger) as f:
                lines = f.read().split("\n")[:-1]
        except FileNotFoundError:
            lines = []
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "o":
                opened = True
            elif kind == "b":
                begun = int(rest) + 1
            elif kind == "d":
                done = int(rest) + 1
            elif kind == "e":
                error = rest
            elif kind == "s":
                longest = float(rest.split()[0])
        return opened, done, begun, error, longest

    def done(self):
        return self.read()[1]

    def await_progress(self, operations, seconds=20):
        """Until so many more operations are done than now."""
        goal = self.done() + operations
        wait_until(lambda: self.done() >= goal or self.process.poll() is not None, seconds,
                   "%d operations of %s: %s" % (operations, self.name, self.read()))
        check(self.done() >= goal, "%s ended: %s" % (self.name, self.read()))

    def finish(self, seconds=30, may_fail=False):
        """Let it end. Its exit code must be 0, unless its node was killed."""
        open(self.stop_path, "w").close()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("%s on n%d does not end: %s" % (self.name, self.node, self.read()))
        check(may_fail or code == 0,
              "%s on n%d, which ran all the time, got an error: %s" % (self.name, self.node,
                                                                       self.read()[3]))

    def check_kept(self, node):
        """Everything acknowledged is there, seen through the mount of @node, and nothing else. What
        was in flight when the node died may be or not."""
        opened, done, begun, _, _ = self.read()
        directory = self.cluster.mnt(node, self.name)
        if not opened:
            return
        found = {}
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), "rb") as f:
                found[name] = f.read()
        candidates = [load.expected(done)]
        if begun > done:
            candidates.append(load.expected(begun))
            if done % 5 == 0: # a create with a write: each may have come alone
                candidates.append(dict(load.expected(done), **{"f%d" % (done // 5): b""}))
        if found not in candidates:
            raise Failed("%s: after %d operations, seen on n%d: %s" %
                         (self.name, done, node, difference(candidates[0], found)))


def difference(wanted, found):
    missing = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    differ = sorted(n for n in set(wanted) & set(found) if wanted[n] != found[n])
    text = "missing %s, not expected %s, different %s" % (missing[:8], extra[:8], differ[:8])
    for name in differ[:2]:
        a, b = wanted[name], found[name]
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        text += "; %s: %d bytes wanted, %d found, first difference at %d: %r / %r" % (
            name, len(a), len(b), at, a[at:at + 24], b[at:at + 24])
    return text


class Load:
    """A writer on each given node, begun anew after its node was killed."""

    def __init__(self, cluster, nodes):
        self.cluster = cluster
        self.active, self.ended = {}, []
        for node in nodes:
            self.begin(node)

    def begin(self, node):
        self.active[node] = Writer(self.cluster, node, "w%d-n%d" % (next(numbers), node))

    def await_progress(self, operations=20, nodes=None, seconds=20):
        for node in nodes or list(self.active):
            self.active[node].await_progress(operations, seconds)

    def lost(self, node):
        """The node was killed: its writer ends by an error, or waits no longer."""
        writer = self.active.pop(node)
        writer.finish(may_fail=True)
        self.ended.append((writer, True))

    def end(self):
        for node in list(self.active):
            writer = self.active.pop(node)
            writer.finish()
            self.ended.append((writer, False))

    def check_kept(self, node):
        for writer, _ in self.ended:
            writer.check_kept(node)

    def operations(self):
        return sum(w.done() for w, _ in self.ended) + sum(w.done() for w in self.active.values())

    def longest_stall(self, nodes=None):
        """Of writers whose nodes were never killed under them."""
        return max((w.read()[4] for w, killed in self.ended
                    if not killed and (nodes is None or w.node in nodes)), default=0.0)

#!/usr/bin/env python3
"""A writer whose every acknowledged change can be checked afterwards.

    load.py DIR LEDGER STOP     write in DIR until the file STOP is there

Operation i is a function of i alone. The ledger (outside the mount) gets "b i" before and "d i" after
each, "e i ERRNO TEXT" for one that failed (which ends the writer), and "s SECONDS i" for each that is
the longest so far. No signal stops it: an interrupted call would be repeated by Python."""
import os, sys, time

SLOTS = 7


def content(i):
    size = i * 7919 % 16384 + 1
    line = b"%d|" % i
    return (line * (size // len(line) + 1))[:size]


def page(i):
    return (b"%016d" % i) * 256


class Operations:
    def __init__(self, directory):
        self.dir = directory
        self.log = self.slots = None

    def open(self):
        os.makedirs(self.dir, exist_ok=True)
        self.log = os.open(os.path.join(self.dir, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.slots = [os.open(os.path.join(self.dir, "slot%d" % s), os.O_WRONLY | os.O_CREAT)
                      for s in range(SLOTS)]

    def path(self, kind, group):
        return os.path.join(self.dir, "%s%d" % (kind, group))

    def do(self, i):
        group, kind = divmod(i, 5)
        if kind == 0:
            fd = os.open(self.path("f", group), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(fd, content(group))
            os.fsync(fd)
            os.close(fd)
        elif kind == 1:
            os.write(self.log, b"%d\n" % group)
        elif kind == 2:
            os.pwrite(self.slots[group % SLOTS], page(group), 0)
        elif kind == 3:
            os.rename(self.path("f", group), self.path("r", group))
        elif group >= 5 and group % 2 == 0:
            os.unlink(self.path("r", group - 4))


def expected(count):
    """The directory after operations 0..count-1: name -> bytes."""
    files = {"log": b""}
    files.update(("slot%d" % s, b"") for s in range(SLOTS))
    lines = []
    for i in range(count):
        group, kind = divmod(i, 5)
        if kind == 0:
            files["f%d" % group] = content(group)
        elif kind == 1:
            lines.append(b"%d\n" % group)
        elif kind == 2:
            files["slot%d" % (group % SLOTS)] = page(group)
        elif kind == 3:
            files["r%d" % group] = files.pop("f%d" % group)
        elif group >= 5 and group % 2 == 0:
            del files["r%d" % (group - 4)]
    files["log"] = b"".join(lines)
    return files


def main(directory, ledger_path, stop_path):
    ledger = open(ledger_path, "a", buffering=1)
    operations, longest, i = Operations(directory), 0.0, 0
    try:
        operations.open()
        ledger.write("o\n")
        while not os.path.exists(stop_path):
            ledger.write("b %d\n" % i)
            began = time.monotonic()
            operations.do(i)
            took = time.monotonic() - began
            ledger.write("d %d\n" % i)
            if took > longest:
                longest = took
                ledger.write("s %.4f %d\n" % (took, i))
            i += 1
            time.sleep(0.001)
    except OSError as e:
        ledger.write("e %d %d %s\n" % (i, e.errno or 0, e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

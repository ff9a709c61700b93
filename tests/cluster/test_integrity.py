"""A host whose disk, or whose state, turns out to be wrong gives nothing wrong out and repairs itself."""
import glob, os, time

import harness
from harness import PAXFS, REPOSITORY, check, note, now, run, test, wait_until

MIB = 1 << 20
# One of the tests' own programs, made by: cmake --build --preset release --target store_edit
STORE_EDIT = os.path.join(REPOSITORY, "build", "release", "bin", "store_edit")


def environment(c, k):
    """The data file of node @k's store."""
    files = [f for f in glob.glob(c.state(k, "store.*", "data.mdb")) if ".bad/" not in f]
    check(len(files) == 1, "not one store: %s" % files)
    return files[0]


def flip_all(path, pattern, at):
    """As a disk that gives other bytes than it got, wherever @pattern is."""
    with open(path, "r+b") as f:
        content = f.read()
        count, found = 0, content.find(pattern)
        while found >= 0:
            f.seek(found + at)
            f.write(bytes([content[found + at] ^ 0x04]))
            count, found = count + 1, content.find(pattern, found + 1)
    check(count > 0, "the pattern is nowhere in %s" % path)


def read_or_error(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        return e


def await_rebuilt(c, k):
    wait_until(lambda: "event=quarantine_ended" in c.log(k), 40, "n%d has its state anew" % k)
    check("event=quarantined" in c.log(k), "no word of the quarantine in the log")
    check(not os.path.exists(c.state(k, "quarantine")), "the quarantine's file is still there")
    check(glob.glob(c.state(k, "store.*.bad")), "what was damaged is not set aside")
    c.check_equal()


def codes(c, k):
    status = c.status(k)
    return [reason["code"] for reason in status["reasons"]] if status else []


@test(limit=120)
def a_host_with_flipped_bytes_gives_none_of_them_out_and_rebuilds_itself(c):
    content = b"".join(b"line %09d of the file that is damaged\n" % i for i in range(20000))
    with open(c.mnt(1, "file"), "wb") as f:
        f.write(content)
    c.check_equal()
    victim = c.follower()
    c.stop(victim)
    flip_all(environment(c, victim), b"line %09d of" % 12345, 7)
    c.start(victim)
    seen = []
    began = now()
    while now() < began + 20 and "event=quarantine_ended" not in c.log(victim):
        got = read_or_error(c.mnt(victim, "file"))
        if isinstance(got, bytes):
            check(got == content, "wrong bytes were given out")
        seen.append(got)
        time.sleep(0.01)
    check(any(isinstance(got, OSError) for got in seen), "nobody noticed")
    await_rebuilt(c, victim)
    note("rebuilt after %.1f s" % (now() - began))

    c.stop(victim)
    c.start(victim)
    check(read_or_error(c.mnt(victim, "file")) == content, "not the file")
    wait_until(lambda: codes(c, victim) == [], 10, "its status has nothing to say")


@test(limit=120)
def a_host_whose_store_cannot_even_be_opened_rebuilds_itself(c):
    with open(c.mnt(1, "file"), "wb") as f:
        f.write(b"content" * 1000)
    c.check_equal()
    victim = c.leader()
    c.stop(victim)
    with open(c.state(victim, "checkpoint"), "r+b") as f:
        f.seek(100)
        f.write(b"\xff" * 16)
    c.start(victim, expect=None)
    await_rebuilt(c, victim)


@test(limit=120)
def what_nobody_reads_is_found_to_be_damaged_all_the_same(c):
    content = b"".join(b"line %09d of the file that is damaged\n" % i for i in range(20000))
    with open(c.mnt(1, "file"), "wb") as f:
        f.write(content)
    c.check_equal()
    victim = c.follower()
    c.stop(victim)
    flip_all(environment(c, victim), b"line %09d of" % 12345, 7)
    c.start(victim)
    await_rebuilt(c, victim)
    wait_until(lambda: c.status(victim)["integrity"]["scrub_passes"] > 0, 20, "a pass of the scrub")
    check(c.status(victim)["integrity"]["scrub_errors"] == 0, "it finds what is gone")


@test(limit=120)
def a_replica_that_differs_from_the_majority_rebuilds_itself(c):
    with open(c.mnt(1, "file"), "wb") as f:
        f.write(b"content" * 1000)
    c.check_equal()
    victim = c.follower()
    c.stop(victim)
    run(STORE_EDIT, c.state(victim))
    c.start(victim)
    c.dev("verify", expect=None)
    await_rebuilt(c, victim)
    for k in c.running():
        if k != victim:
            check("event=quarantine " not in c.log(k), "n%d thought that it was wrong" % k)


@test(nodes=1, limit=60)
def a_host_that_is_alone_refuses_what_is_damaged_and_keeps_the_rest(c):
    content = b"".join(b"line %09d of the file that is damaged\n" % i for i in range(20000))
    for name in ("bad", "good"):
        with open(c.mnt(1, name), "wb") as f:
            f.write(content.replace(b"damaged", name.encode()))
    c.stop(1)
    flip_all(environment(c, 1), b"line %09d of the file that is bad" % 12345, 7)
    c.start(1)
    check(isinstance(read_or_error(c.mnt(1, "bad")), OSError), "it was given out")
    check(read_or_error(c.mnt(1, "good")) == content.replace(b"damaged", b"good"), "not the rest")
    wait_until(lambda: "damaged" in codes(c, 1), 5, "the status says so")
    time.sleep(1)
    check(c.pid(1) and "quarantine" not in c.log(1), "it gave up the only state there is")


@test(limit=60)
def fsck_tells_what_is_wrong_with_a_stopped_host(c):
    content = b"".join(b"line %09d of the file that is damaged\n" % i for i in range(20000))
    with open(c.mnt(1, "file"), "wb") as f:
        f.write(content)
    os.mkdir(c.mnt(1, "directory"))
    c.check_equal()
    result = run(PAXFS, "fsck", c.state(2), expect=2)
    check("stop it first" in result.output, "it checks under a daemon: %s" % result)
    c.kill(2)
    run(PAXFS, "fsck", c.state(2), expect=0)
    c.stop(1)
    run(PAXFS, "fsck", c.state(1), expect=0)
    flip_all(environment(c, 1), b"line %09d of" % 12345, 7)
    result = run(PAXFS, "fsck", c.state(1), expect=1)
    check("is damaged in chunk" in result.output, "not said: %s" % result)

    c.stop(3)
    segment = sorted(glob.glob(c.state(3, "wal", "segment.0*")))[0]
    with open(segment, "r+b") as f:
        f.seek(8192 + 100)
        byte = f.read(1)
        f.seek(8192 + 100)
        f.write(bytes([byte[0] ^ 1]))
    result = run(PAXFS, "fsck", c.state(3), expect=1)
    check("the log:" in result.output, "not said: %s" % result)

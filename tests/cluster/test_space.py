"""Small disks: what is full is agreed, deletes always work, and a host without room waits alone."""
import errno, os, subprocess, threading

from harness import Failed, check, note, now, test, wait_until
from test_faults import check_stall
from writers import Load

KIB, MIB = 1 << 10, 1 << 20
DISK = 200 * MIB


def small(c):
    c.give_disks(DISK).up()
    wait_until(lambda: c.status(1)["space"]["capacity"], 20, "a capacity")
    return c


def write_until_full(path, sizes, failures):
    """Files of @sizes in turn until there is no room; any other error is a failure."""
    os.makedirs(path, exist_ok=True)
    count = 0
    try:
        while True:
            size = sizes[count % len(sizes)]
            with open(os.path.join(path, "f%d" % count), "wb", buffering=0) as f:
                f.write(os.urandom(size))
            count += 1
    except OSError as e:
        if e.errno != errno.ENOSPC:
            failures.append("%s: %s" % (path, e))


def fill(c, name, sizes):
    failures = []
    threads = [threading.Thread(target=write_until_full, args=(c.mnt(k, name, "n%d" % k), sizes,
                                                               failures)) for k in (1, 2, 3)]
    os.makedirs(c.mnt(1, name), exist_ok=True)
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not failures, "; ".join(failures))


def expect_full(path):
    try:
        with open(path, "wb", buffering=0) as f:
            f.write(bytes(MIB))
    except OSError as e:
        check(e.errno == errno.ENOSPC, "%s: %s" % (path, e))
        return
    raise Failed("%s could be written" % path)


def check_df(c):
    """The same numbers on every host, once all have applied the same."""
    def numbers():
        seen = [os.statvfs(c.mnt(k)) for k in (1, 2, 3)]
        return len({(s.f_blocks, s.f_bavail, s.f_files) for s in seen}) == 1 and seen[0]
    return wait_until(numbers, 5, "one df everywhere")


def check_all_take_part(c):
    for k in (1, 2, 3):
        check("disk_short" not in c.log(k) and "_waits why" not in c.log(k),
              "the disk of n%d was fuller than the capacity says" % k)


def empty(c, name):
    for k in (1, 2, 3):
        path = c.mnt(k, name, "n%d" % k)
        for entry in os.listdir(path):
            os.unlink(os.path.join(path, entry)) # also where everything is full
        os.rmdir(path)


@test(up=False, limit=120)
def a_full_cluster_says_so_on_every_host_and_deletes_make_room(c):
    small(c)
    capacity = c.status(1)["space"]["capacity"]
    check(capacity > DISK // 4, "of %d bytes only %d are for files" % (DISK, capacity))
    for name, sizes in (("large", [700000]), ("small", [4096, 100, 1900, 33000]),
                        ("large again", [300000, 1000000])):
        fill(c, name, sizes)
        df = check_df(c)
        check(df.f_bavail < df.f_blocks // 20, "full with %d of %d blocks free" %
              (df.f_bavail, df.f_blocks))
        for k in (1, 2, 3):
            expect_full(c.mnt(k, "one more"))
            with open(c.mnt(k, name, "n%d" % k, "f0"), "r+b", buffering=0) as f:
                f.write(b"over") # takes no more
        files = [os.stat(c.state(k, "store.1", "data.mdb")).st_size // MIB for k in (1, 2, 3)]
        note("%s: %d MiB of %d, stores of %s" % (name, c.status(1)["space"]["used"] // MIB,
                                                 capacity // MIB, files))
        check_all_take_part(c)
        c.check_equal()
        os.unlink(c.mnt(2, "one more")) # created, but empty
        empty(c, name)
        wait_until(lambda: os.statvfs(c.mnt(3)).f_bavail > df.f_blocks * 9 // 10, 20, "room again")


def fill_from_outside(c, k, left):
    """A file beside the state that takes all but @left bytes."""
    path = c.state(k, "filler")
    with open(path, "wb", buffering=0) as f:
        try:
            while os.statvfs(c.state(k)).f_bavail * 4096 > left:
                f.write(bytes(256 * KIB))
        except OSError as e:
            check(e.errno == errno.ENOSPC, str(e))
    return path


def reasons(c, k):
    return [r["code"] for r in c.status(k)["reasons"]]


@test(up=False, limit=120)
def a_host_whose_disk_is_filled_waits_alone_and_comes_back_by_itself(c):
    small(c)
    load = Load(c, (1, 2, 3))
    load.await_progress()
    # With some left nothing fails, yet it leaves; with nothing left, the log and the store may be stuck.
    for victim, left in ((c.follower(), 4 * MIB), (c.leader(), 0)):
        rest = [k for k in (1, 2, 3) if k != victim]
        pid = c.pid(victim)
        began = now()
        filler = fill_from_outside(c, victim, left)
        wait_until(lambda: "disk_short" in reasons(c, victim), 5, "n%d says so" % victim)
        wait_until(lambda: "disk_short" in reasons(c, rest[0]), 5, "the others know")
        check(c.status(victim)["health"] == "not working", "it says it works")
        load.await_progress(40, rest)
        done = load.active[victim].done()
        late = subprocess.Popen(["sh", "-c", "echo late > '%s'" % c.mnt(victim, "late%d" % victim)])
        load.await_progress(40, rest)
        check(load.active[victim].done() <= done + 1, "calls on n%d do not wait" % victim)
        check(late.poll() is None, "a call on n%d ended: %s" % (victim, late.poll()))
        took = now() - began
        if left:
            check("_waits why" not in c.log(victim), "n%d went on until nothing was left" % victim)

        os.unlink(filler)
        check(late.wait(20) == 0, "the call that waited failed")
        load.await_progress(20)
        with open(c.mnt(rest[0], "late%d" % victim)) as f:
            check(f.read() == "late\n", "what was written late")
        check(c.pid(victim) == pid, "n%d stopped" % victim)
        note("n%d was out for %.1f s" % (victim, took))
    load.end()
    for k in (1, 2, 3):
        load.check_kept(k)
    check_stall(load, rest)

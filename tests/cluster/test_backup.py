"""Backups of a cluster at work, restored into another one; what is left of a lost one, recovered."""
import hashlib, os, shutil, stat, subprocess, time

import harness
from harness import PAXFS, PAXFSD, check, note, run, test, wait_until
from test_members import check_filled, fill
from writers import Load

MIB = 1 << 20


def tree_of(directory, but=()):
    """What is below a directory: {path: (type and mode, size, target or digest of the contents)}."""
    found = {}
    for parent, names, files in os.walk(directory):
        names[:] = sorted(n for n in names if os.path.relpath(os.path.join(parent, n), directory)
                          not in but)
        for name in names + files:
            path = os.path.join(parent, name)
            s = os.lstat(path)
            if stat.S_ISLNK(s.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    what = hashlib.file_digest(f, "sha256").hexdigest()
            else:
                what = None
            found[os.path.relpath(path, directory)] = (s.st_mode, s.st_size if what else 0, what)
    return found


def fill_tree(directory):
    os.makedirs(os.path.join(directory, "a/b/c"))
    for i in range(40):
        with open(os.path.join(directory, "a/b/f%d" % i), "wb") as f:
            f.write(os.urandom(1 + 3000 * i))
    os.symlink("b/f3", os.path.join(directory, "a/link"))
    os.chmod(os.path.join(directory, "a/b/f1"), 0o4751)
    with open(os.path.join(directory, "a/sparse"), "wb") as f:
        f.truncate(5 * MIB)
        f.seek(3 * MIB)
        f.write(b"in the middle")


def check_same_tree(wanted, directory):
    found = tree_of(directory)
    differ = [p for p in wanted if found.get(p) != wanted[p]]
    check(not differ, "not as it was: %s" % [(p, wanted[p], found.get(p)) for p in differ[:4]])


class Restored:
    """A cluster of one restored host, mounted, on an address that no node of @c has."""

    def __init__(self, c, backup, name="r"):
        self.root = os.path.join(c.dir, name) # so that down() detaches the mount
        self.state, self.mnt = os.path.join(self.root, "state"), os.path.join(self.root, "mnt")
        self.address = "127.0.0.%d:%d" % (c.nodes + 3, c.port)
        os.makedirs(self.mnt)
        self.result = run(PAXFS, "restore", backup, "--new-cluster", "--state", self.state,
                          "--listen", self.address, "--name", "r1")

    def mount(self):
        run(PAXFS, "mount", self.state, self.mnt, timeout=30)
        return self

    def stop(self):
        run(PAXFS, "umount", "-l", self.mnt, expect=None)
        run(PAXFS, "stop", "--state", self.state, expect=None)


def backup(c, k, path, **options):
    return run(PAXFS, "backup", path, "--state", c.state(k), timeout=90, **options)


@test(limit=240)
def a_backup_under_load_becomes_another_cluster_that_others_join(c):
    fill_tree(c.mnt(1))
    block = fill(c.mnt(2, "big"), 64 * MIB)
    path = os.path.join(os.path.dirname(c.dir), "backup")
    load = Load(c, (1, 2, 3))
    load.await_progress()
    wanted = tree_of(c.mnt(3, "a"))
    k = c.follower()
    result = backup(c, k, path)
    note("%.1f MiB in %.1f s" % (os.path.getsize(path) / MIB, result.seconds))
    load.await_progress()
    load.end()
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o600, "who else may read it?")
    check(not os.path.exists(path + ".new"), "something is left")

    r = Restored(c, path).mount()
    try:
        check_same_tree(wanted, os.path.join(r.mnt, "a"))
        check_filled(os.path.join(r.mnt, "big"), 64 * MIB, block)
        check_one_moment(load, r.mnt)
        with open(os.path.join(r.mnt, "new"), "w") as f:
            f.write("of the new cluster")
        check(not os.path.exists(c.mnt(1, "new")), "the former cluster changed")
        check_joins(c, r, wanted)
    finally:
        r.stop()


def check_one_moment(load, directory):
    """Of each writer: exactly what it had done up to some operation, at least 20."""
    import load as operations
    for writer, _ in load.ended:
        found = {}
        for name in os.listdir(os.path.join(directory, writer.name)):
            with open(os.path.join(directory, writer.name, name), "rb") as f:
                found[name] = f.read()
        done = writer.read()[1]
        at = next((n for n in range(20, done + 1) if operations.expected(n) == found), None)
        created = next((n for n in range(20, done + 1) if n % 5 == 0 and
                        dict(operations.expected(n), **{"f%d" % (n // 5): b""}) == found), None)
        check(at or created, "%s is of no one moment: %s" % (writer.name, sorted(found)[-4:]))


def check_joins(c, r, wanted):
    """A second host joins the restored cluster and has the files too."""
    root = os.path.join(c.dir, "r2")
    state, mnt = os.path.join(root, "state"), os.path.join(root, "mnt")
    os.makedirs(mnt)
    token = next(word for word in run(PAXFS, "member", "add", "r2", "--state", r.state,
                                      timeout=30).output.split() if word.startswith("paxfs-join-1:"))
    run(PAXFS, "join", "--state", state, "--listen",
        "127.0.0.%d:%d" % (c.nodes + 4, c.port), token)
    run(PAXFS, "mount", state, mnt, timeout=30)
    try:
        wait_until(lambda: "2 of 2 voters" in run(PAXFS, "member", "ls", "--state", r.state).output,
                   40, "r2 votes")
        check_same_tree(wanted, os.path.join(mnt, "a"))
        with open(os.path.join(mnt, "new")) as f:
            check(f.read() == "of the new cluster", "not what r1 wrote")
        wait_until(lambda: run(PAXFS, "verify", "--state", r.state, expect=None).code == 0, 20,
                   "both are equal")
    finally:
        run(PAXFS, "umount", "-l", mnt, expect=None)
        run(PAXFS, "stop", "--state", state, expect=None)


@test(limit=120)
def a_backup_to_stdout_is_the_same_as_one_to_a_file(c):
    fill_tree(c.mnt(1))
    wanted = tree_of(c.mnt(1, "a"))
    path = os.path.join(os.path.dirname(c.dir), "backup")
    with open(path, "wb") as f:
        child = subprocess.run([PAXFS, "backup", "-", "--state", c.state(2)], stdout=f,
                               stderr=subprocess.PIPE, timeout=60)
    check(child.returncode == 0 and b"slot" in child.stderr, "backup -: %s" % child)
    r = Restored(c, path).mount()
    try:
        check_same_tree(wanted, os.path.join(r.mnt, "a"))
    finally:
        r.stop()
    # Nobody who reads: the daemon is done with it, and makes the next one.
    child = subprocess.Popen([PAXFS, "backup", "-", "--state", c.state(2)],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.read(1000)
    child.kill()
    child.wait()
    wait_until(lambda: backup(c, 2, path, expect=None).code == 0, 20, "another backup")


@test(limit=120)
def only_one_backup_is_made_at_a_time_and_a_daemon_stops_in_the_midst_of_one(c):
    fill(c.mnt(1, "big"), 32 * MIB)
    path = os.path.join(os.path.dirname(c.dir), "backup")
    slow = subprocess.Popen([PAXFS, "backup", "-", "--state", c.state(2)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        slow.stdout.read(1000) # it has begun, and goes no further than the pipes hold
        result = backup(c, 2, path, expect=1)
        check("another one" in result.output, "a second one: %s" % result)
        check(not os.path.exists(path) and not os.path.exists(path + ".new"), "something is left")
        backup(c, 3, path) # another host's daemon has none
        result = run(PAXFS, "stop", "--state", c.state(2), timeout=30)
        check(result.seconds < 10, "it took %.1f s to stop" % result.seconds)
        slow.stdout.read()
        check(slow.wait(10) == 1 and b"stopping" in slow.stderr.read(), "the slow one went well")
    finally:
        slow.kill()
        slow.wait()
    c.start(2)


@test(limit=120)
def without_a_majority_a_backup_is_of_what_this_host_has_and_says_so(c):
    fill_tree(c.mnt(1))
    wanted = tree_of(c.mnt(1, "a"))
    c.check_equal()
    c.kill(2)
    c.kill(3)
    path = os.path.join(os.path.dirname(c.dir), "backup")
    result = backup(c, 1, path)
    check("no majority" in result.output, "it does not say so: %s" % result)
    check(result.seconds < 20, "it took %.1f s" % result.seconds)
    r = Restored(c, path).mount()
    try:
        check_same_tree(wanted, os.path.join(r.mnt, "a"))
    finally:
        r.stop()


@test(limit=90)
def a_damaged_backup_is_refused_and_nothing_is_made_of_it(c):
    fill_tree(c.mnt(1))
    root = os.path.dirname(c.dir)
    path, bad, state = (os.path.join(root, name) for name in ("backup", "bad", "bad-state"))
    backup(c, 1, path)

    def refused(file, *words):
        result = run(PAXFS, "restore", file, "--new-cluster", "--state", state, "--listen",
                     "127.0.0.%d:%d" % (c.nodes + 3, c.port), expect=1)
        check(all(w in result.output for w in words), "it does not say %s: %s" % (words, result))
        check(not os.path.exists(state), "a directory was made")

    size = os.path.getsize(path)
    shutil.copy(path, bad)
    os.truncate(bad, size - 100)
    refused(bad, "cut", "nothing was changed")
    shutil.copy(path, bad)
    with open(bad, "r+b") as f:
        f.seek(size // 2)
        byte = f.read(1)
        f.seek(size // 2)
        f.write(bytes([byte[0] ^ 1]))
    refused(bad, "checksum", "nothing was changed")
    refused(PAXFS, "no backup")
    refused(os.path.join(root, "none"), "No such file")
    result = run(PAXFS, "restore", path, "--new-cluster", "--state", c.state(1), "--listen",
                 "127.0.0.%d:%d" % (c.nodes + 3, c.port), expect=1)
    check("already" in result.output, "into a directory in use: %s" % result)
    result = run(PAXFS, "restore", path, "--state", state, "--listen", "127.0.0.1:1", expect=1)
    check("--new-cluster" in result.output, "without the word: %s" % result)
    with open(bad, "w") as f:
        f.write("mine")
    result = backup(c, 1, os.path.join(root, "no/such/dir"), expect=1)
    check("another place" in result.output, "into nowhere: %s" % result)


@test(limit=180, verify=False)
def after_two_of_three_are_lost_the_third_goes_on_alone_and_others_join_anew(c):
    fill_tree(c.mnt(1))
    wanted = tree_of(c.mnt(1, "a"))
    load = Load(c, (1,))
    load.await_progress(50)
    load.end()
    survivor = 2
    result = run(PAXFS, "recover", "--state", c.state(survivor), expect=1)
    check("paxfs stop" in result.output, "of one that runs: %s" % result)
    for k in (1, 2, 3):
        c.kill(k)
    for k in (1, 3):
        shutil.rmtree(c.state(k))

    result = run(PAXFS, "recover", "--state", c.state(survivor))
    check("nothing was changed" in result.output and "3 voters" in result.output, str(result))
    check(not any(n.startswith("RECOVERED") for n in os.listdir(c.state(survivor))), "it was changed")
    result = run(PAXFS, "recover", "--force-new-cluster", "--state", c.state(survivor))
    note([line for line in result.output.splitlines() if "last change" in line][0].strip())
    record = next(n for n in os.listdir(c.state(survivor)) if n.startswith("RECOVERED"))
    with open(c.state(survivor, record)) as f:
        check(f.read() in result.output, "the record is not what was said")

    c.start(survivor)
    check_same_tree(wanted, c.mnt(survivor, "a"))
    load.check_kept(survivor)
    with open(c.mnt(survivor, "new"), "w") as f:
        f.write("alone")
    status = c.status(survivor)
    check([m["name"] for m in status["members"]] == ["n2"], "members: %s" % status["members"])
    new = c.add()
    check_same_tree(wanted, c.mnt(new, "a"))
    run(PAXFS, "verify", "--state", c.state(survivor))
    for name in ("wal", "config"):
        check(any(n.startswith(name + ".before-recover-") for n in os.listdir(c.state(survivor))),
              "%s was not set aside" % name)

"""Wrong options, directories, ports, logs and bytes: a clear line, a proper exit code, nothing lost."""
import glob, json, os, random, shutil, socket, stat, struct

from harness import MOUNT, PAXFS, PAXFSD, check, note, run, test
from writers import Load


def check_says(result, *words):
    """One clear line: it has the words, and no more than two lines were needed."""
    lines = [line for line in result.output.splitlines() if line.strip()]
    check(0 < len(lines) <= 2, "one line is wanted: %s" % result)
    for word in words:
        check(word in result.output, "'%s' is missing: %s" % (word, result))


def temporary(c, name):
    path = os.path.join(os.path.dirname(c.dir), name)
    os.makedirs(path, exist_ok=True)
    return path


@test(up=False, verify=False)
def wrong_options_are_named(c):
    state, mnt = os.path.join(temporary(c, "a"), "state"), temporary(c, "mnt")
    address = "127.0.0.1:%d" % c.port
    run(PAXFS, "init", "--state", state, "--listen", address)
    for option in ("frobnicate", "timeo=soon", "timeo=-1", "ro=yes"):
        check_says(run(MOUNT, state, mnt, "-o", "nosuid,%s,ro" % option, expect=1), option)
    run(MOUNT, state, mnt, "-f", "-s", "-o", "frobnicate", expect=0)
    check_says(run(MOUNT, state, expect=1), "DIR")
    check_says(run(PAXFS, "frobnicate", expect=1), "frobnicate", "--help")
    check_says(run(PAXFS, "dev", "kill", "n9", "--dir", "/nonexistent", expect=1), "/nonexistent")
    check_says(run(PAXFS, "status", "--state", state, expect=3), "no daemon")
    for arguments in (["--listen", address], ["--cluster", "n1=%s" % address],
                      ["--cluster", "n1=%s" % address, "--name", "n2"],
                      ["--cluster", "n1=%s,n1=127.0.0.2:7" % address, "--name", "n1"],
                      ["--cluster", "n1=nowhere", "--name", "n1"],
                      ["--cluster", "n1=%s" % address, "--name", "n1", "--listen", "127.0.0.9:1"],
                      ["--listen", "127.0.0.1:99999"]):
        fresh = [] if arguments[0] == "--listen" and address in arguments else ["-x"]
        where = state if not fresh else state + "-x"
        check_says(run(PAXFS, "init", "--state", where, *arguments, expect=1), "init")
        check(not os.path.exists(state + "-x"), "a failed init left a directory")
    for program in (PAXFS, PAXFSD, MOUNT):
        check("0." in run(program, "--version").output, "%s --version" % program)
        check("usage" in run(program, "--help").output, "%s --help" % program)


@test(up=False, verify=False)
def a_missing_or_foreign_state_directory_is_refused_and_left_alone(c):
    top, mnt = temporary(c, "b"), temporary(c, "mnt")
    missing, foreign, later, mixed = (os.path.join(top, n) for n in ("no", "foreign", "later", "mixed"))
    os.mkdir(foreign)
    with open(os.path.join(foreign, "thesis.txt"), "w") as f:
        f.write("dear")
    run(PAXFS, "init", "--state", later, "--listen", "127.0.0.1:%d" % c.port)
    with open(os.path.join(later, "config")) as f:
        text = f.read()
    with open(os.path.join(later, "config"), "w") as f:
        f.write(text.replace("version=1", "version=99"))
    run(PAXFS, "init", "--state", mixed, "--listen", "127.0.0.1:%d" % c.port)
    with open(os.path.join(mixed, "config"), "wb") as f:
        f.write(os.urandom(500))
    for directory in (missing, foreign, later, mixed):
        for command in ((MOUNT, directory, mnt), (PAXFS, "mount", directory, mnt)):
            check_says(run(*command, expect=32), directory)
        check_says(run(PAXFSD, "--state", directory, "--foreground", expect=1), directory)
    check_says(run(PAXFS, "init", "--state", foreign, "--listen", "127.0.0.1:7", expect=1), foreign)
    check(os.listdir(foreign) == ["thesis.txt"], "the foreign directory was written to")
    check(not os.path.exists(missing), "the missing directory was made")
    check_says(run(MOUNT, foreign, os.path.join(top, "nowhere"), expect=32), "nowhere")


@test(up=False, verify=False)
def a_mount_over_its_own_state_directory_is_refused(c):
    top = temporary(c, "own")
    state = os.path.join(top, "state")
    run(PAXFS, "init", "--state", state, "--listen", "127.0.0.1:%d" % (c.port + 1))
    for directory in (top, state):
        for command in ((MOUNT, state, directory), (PAXFS, "mount", state, directory)):
            check_says(run(*command, expect=32), "it holds the state directory", state)
    check(not os.path.exists(os.path.join(state, "paxfsd.log")), "a daemon was started")


@test()
def a_port_in_use_and_a_second_daemon_are_refused_and_the_first_goes_on(c):
    check_says(run(PAXFSD, "--state", c.state(1), "--foreground", expect=1), "another", c.state(1))
    check_says(run(MOUNT, c.state(1), c.mnt(1), expect=32), "already")
    other = temporary(c, "other")
    check_says(run(MOUNT, c.state(1), other, expect=32), "already")
    c.stop(3)
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.3", c.port))
    holder.listen()
    check_says(c.start(3, expect=1), "127.0.0.3:%d" % c.port)
    check_says(run(MOUNT, c.state(3), c.mnt(3), expect=32), "127.0.0.3:%d" % c.port)
    holder.close()
    c.start(3)
    check(c.status(1)["node"]["pid"] == c.pid(1), "the first daemon is another")


def segments(c, k):
    found = sorted(glob.glob(c.state(k, "wal", "*")))
    check(found, "n%d has no log" % k)
    return found


def written_bytes(path):
    """Where the last byte that is not zero lies."""
    with open(path, "rb") as f:
        data = f.read()
    return len(data.rstrip(b"\0"))


def refuses_or_recovers(c, k, what):
    """A node whose log was damaged: it must not serve anything wrong. It refuses with one clear line,
    or comes back equal."""
    result = c.start(k, expect=None)
    if result.code == 0:
        c.check_equal()
        note("%s: recovered" % what)
        c.stop(k)
        return
    check_says(result, "wal")
    note("%s: refused" % what)


@test(limit=150)
def a_flipped_or_truncated_log_is_refused_or_healed_and_nothing_is_lost(c):
    load = Load(c, (1, 2))
    load.await_progress(300)
    c.stop(3)
    load.await_progress(50)
    load.end()
    originals = {path: open(path, "rb").read() for path in segments(c, 3)}

    def restore():
        for path, data in originals.items():
            with open(path, "wb") as f:
                f.write(data)
    path = max(originals, key=written_bytes)
    end = written_bytes(path)
    check(end > 10000, "the log is too small to damage: %d bytes" % end)

    def flip(at):
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 0x10]))

    for what, damage in (("flipped at the start", lambda: flip(40)),
                         ("flipped in the middle", lambda: flip(end // 2)),
                         ("flipped in the last batch", lambda: flip(end - 20)),
                         ("truncated to a half", lambda: os.truncate(path, end // 2)),
                         ("truncated to nothing", lambda: os.truncate(path, 0))):
        damage()
        refuses_or_recovers(c, 3, what)
        restore_needed = c.pid(3) is None
        if restore_needed:
            restore()
        c.start(3)
        c.check_equal()
        load.check_kept(3)
        c.stop(3)
        originals = {p: open(p, "rb").read() for p in segments(c, 3)}
        path = max(originals, key=written_bytes)
        end = written_bytes(path)
    c.start(3)


@test(limit=60)
def garbage_and_oversized_frames_on_the_port_change_nothing(c):
    r = random.Random(7)
    load = Load(c, (1, 2, 3))
    load.await_progress()

    def send(k, data, wait=False):
        s = socket.create_connection(("127.0.0.%d" % k, c.port), timeout=5)
        try:
            s.sendall(data)
            if wait:
                while s.recv(65536):
                    pass
        except OSError:
            pass
        finally:
            s.close()

    for k in (1, 2, 3):
        for _ in range(30):
            send(k, r.randbytes(r.choice((1, 3, 4, 100, 5000))))
        send(k, struct.pack("<I", 0), wait=True)
        send(k, struct.pack("<I", 0xffffffff) + b"x" * 1000, wait=True)
        send(k, struct.pack("<I", (8 << 20) + 1) + b"x" * 1000, wait=True)
        send(k, struct.pack("<I", 5) + b"\x93\x02\xa1x\x90", wait=True)
        send(k, struct.pack("<I", 5) + b"\xdd\xff\xff\xff\xff", wait=True)
        send(k, b"GET / HTTP/1.1\r\n\r\n", wait=True)
    silent = [socket.create_connection(("127.0.0.1", c.port)) for _ in range(100)]
    load.await_progress(50)
    for s in silent:
        s.close()
    for _ in range(20): # the admin socket too
        s = socket.socket(socket.AF_UNIX)
        s.connect(c.state(1, "admin.sock"))
        try:
            s.sendall(r.choice((r.randbytes(200), struct.pack("<I", 0x7fffffff), b"")))
        except OSError:
            pass
        s.close()
    mode = stat.S_IMODE(os.stat(c.state(1, "admin.sock")).st_mode)
    check(mode == 0o600, "admin.sock has mode %o" % mode)
    load.await_progress(50)
    load.end()
    load.check_kept(2)
    check(len(c.running()) == 3, "a daemon died")
    check(c.status(1)["health"] == "fine", "status: %s" % json.dumps(c.status(1)))


@test()
def a_member_with_a_new_state_directory_is_kept_out_and_both_sides_say_so(c):
    """Its old self is pinned: a wiped disk cannot vote as if it remembered."""
    load = Load(c, (1, 2))
    load.await_progress()
    c.stop(3)
    os.rename(c.state(3), c.state(3) + ".old")
    members = ",".join("n%d=127.0.0.%d:%d" % (k, k, c.port) for k in (1, 2, 3))
    run(PAXFS, "init", "--state", c.state(3), "--cluster", members, "--name", "n3")
    check("waiting for a quorum" in c.start(3).output, "a stranger got in")
    load.await_progress()
    load.end()
    status = c.status(3)
    check(status["health"] == "not working", "a stranger works: %s" % json.dumps(status))
    status = c.status(1)
    check(status["health"] == "degraded", "n1 says %s" % json.dumps(status))
    check(any("n3" in r["text"] for r in status["reasons"]), "n1 names no n3: %s" % status["reasons"])
    c.stop(3)
    shutil.rmtree(c.state(3))
    os.rename(c.state(3) + ".old", c.state(3))
    c.start(3)
    load.check_kept(3)

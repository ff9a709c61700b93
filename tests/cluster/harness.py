"""A cluster of real daemons and mounts for one test, through `paxfs dev`.

Everything lives in a fresh directory; ports are free ones, so that other clusters on this machine are
not in the way. down() always ends the processes and detaches the mounts."""
import ctypes, json, os, random, shutil, signal, socket, subprocess, tempfile, time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("PAXFS_BIN", os.path.join(REPOSITORY, "build", "bin"))
PAXFS, PAXFSD, MOUNT = (os.path.join(BIN, name) for name in ("paxfs", "paxfsd", "mount.paxfs"))
STALL_MAX_S = 2.0     # DESIGN §1, promise 5
LONG = False          # run --long: the sizes of the promises rather than those of CI

now = time.monotonic


class Failed(Exception):
    """What a test found; its text is for the person who reads the run."""


def check(condition, text):
    if not condition:
        raise Failed(text)


class Result:
    def __init__(self, arguments, code, output, seconds):
        self.arguments, self.code, self.output, self.seconds = arguments, code, output, seconds

    def __str__(self):
        return "%s -> %s after %.1f s\n%s" % (" ".join(self.arguments), self.code, self.seconds,
                                              self.output)


def run(*arguments, timeout=60, cwd=None, env=None, expect=0, stdin=None):
    """Run to the end; what it printed (stdout and stderr) goes to a file, not a pipe, and a process
    that cannot be killed, as one that waits inside a mount, is left behind rather than waited for.
    expect: the exit code it must have, None: any."""
    arguments = [str(a) for a in arguments]
    began = now()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=env,
                                 stdin=stdin or subprocess.DEVNULL)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            code = None
        out.seek(0)
        result = Result(arguments, code, out.read().decode(errors="replace"), now() - began)
    check(code is not None, "did not end within %d s: %s" % (timeout, result))
    check(expect is None or code == expect, "expected exit %s: %s" % (expect, result))
    return result


def wait_until(condition, seconds, what):
    deadline = now() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(now() < deadline, "not within %g s: %s" % (seconds, what))
        time.sleep(0.02)


def free_port(count):
    """A port that is free on 127.0.0.1 to 127.0.0.count."""
    for _ in range(100):
        port = random.randint(20000, 32000) # below the range of outgoing connections
        sockets = []
        try:
            for k in range(1, count + 1):
                s = socket.socket()
                sockets.append(s)
                s.bind(("127.0.0.%d" % k, port))
            return port
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise Failed("no free port")


def mounts_below(directory):
    """Mount points below a directory, the innermost first; from /proc: no call goes into a mount."""
    found = []
    with open("/proc/self/mountinfo") as f:
        for line in f:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == directory or point.startswith(directory + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def detach(point):
    """umount -l, by the bare call: umount(8) looks at other mounts too, and one that hangs would
    hold it up."""
    ctypes.CDLL(None).umount2(os.fsencode(point), 2) # MNT_DETACH


class Cluster:
    def __init__(self, root, nodes=3):
        self.dir = os.path.join(root, "d")
        self.nodes = nodes # to begin with
        self.port = free_port(nodes + 4)
        self.table = None

    # ---- places

    def node(self, k):
        return os.path.join(self.dir, "n%d" % k)

    def mnt(self, k, *path):
        return os.path.join(self.node(k), "mnt", *path)

    def state(self, k, *path):
        return os.path.join(self.node(k), "state", *path)

    def log_path(self, k):
        return os.path.join(self.node(k), "paxfsd.log")

    def log(self, k):
        try:
            with open(self.log_path(k), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    # ---- verbs

    def dev(self, *arguments, **options):
        return run(PAXFS, "dev", *arguments, "--dir", self.dir, **options)

    def up(self):
        self.dev("up", self.nodes, "--base", self.port, timeout=60)
        return self

    def give_disks(self, size):
        """Before up(): each node's state on a disk of its own. They are unmounted with all else that
        is below the cluster's directory, and their loop devices go with the mounts."""
        for k in range(1, self.nodes + 1):
            image = os.path.join(self.dir, "disk%d" % k)
            os.makedirs(self.state(k))
            with open(image, "wb") as f:
                f.truncate(size)
            run("mkfs.ext4", "-q", "-m", "0", "-F", image)
            run("mount", "-o", "loop", image, self.state(k))
            os.rmdir(self.state(k, "lost+found"))
        return self

    def kill(self, k):
        self.dev("kill", "n%d" % k, timeout=20)

    def start(self, k, **options):
        return self.dev("start", "n%d" % k, timeout=40, **options)

    def stop(self, k, **options):
        return self.dev("stop", "n%d" % k, timeout=40, **options)

    def _is_daemon(self, k, pid):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
            return os.path.basename(words[0]) == b"paxfsd" and self.state(k).encode() in words
        except OSError:
            return False

    def pid(self, k):
        """The pid of the running daemon, or None. mount.paxfs starts one without a pid file."""
        try:
            with open(os.path.join(self.node(k), "paxfsd.pid")) as f:
                pid = int(f.read())
            if self._is_daemon(k, pid):
                return pid
        except (OSError, ValueError):
            pass
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return next((pid for pid in pids if self._is_daemon(k, pid)), None)

    def signal(self, k, number):
        pid = self.pid(k)
        check(pid, "n%d does not run" % k)
        os.kill(pid, number)

    def numbers(self):
        """Of all nodes there ever were, from the disk: a test adds some in a process of its own."""
        try:
            names = os.listdir(self.dir)
        except FileNotFoundError:
            return []
        return sorted(int(name[1:]) for name in names if name[:1] == "n" and name[1:].isdigit())

    def members(self):
        """Those that were not removed."""
        return [k for k in self.numbers() if not os.path.exists(os.path.join(self.node(k), "removed"))]

    def running(self):
        return [k for k in self.numbers() if self.pid(k)]

    def member(self, by, *arguments, **options):
        return run(PAXFS, "member", *arguments, "--state", self.state(by), **options)

    def role(self, name, by):
        """What member @name is, as node @by sees it; None: no member."""
        members = self.status(by)["members"]
        return next((m["role"] for m in members if m["name"] == name), None)

    def add(self, **options):
        """One more node, which votes in the end. Its number."""
        self.dev("add", timeout=150, **options)
        return self.numbers()[-1]

    def replace(self, k, **options):
        self.dev("replace", "n%d" % k, timeout=150, **options)
        return self.numbers()[-1]

    def status(self, k):
        """What `paxfs status --json` says, or None without a daemon."""
        result = run(PAXFS, "status", "--state", self.state(k), "--json", expect=None, timeout=20)
        try:
            return json.loads(result.output.splitlines()[0]) if result.code < 3 else None
        except (ValueError, IndexError):
            return None

    def leader(self):
        """The number of the node that leads, by its own word."""
        def ask():
            for k in self.running():
                status = self.status(k)
                if status and status.get("role") == "leader" and status.get("serving"):
                    return k
            return None
        return wait_until(ask, 10, "a node that leads")

    def follower(self):
        leader = self.leader()
        return next(k for k in self.running() if k != leader)

    def check_equal(self, seconds=30):
        """All replicas have one digest; a node that just came back may need a moment."""
        deadline = now() + seconds
        while True:
            result = self.dev("verify", expect=None, timeout=45)
            if result.code == 0:
                return
            check(result.code == 1 and now() < deadline, "replicas are not equal: %s" % result)
            time.sleep(0.2)

    # ---- links

    def _nft(self, *arguments):
        run("nft", *arguments)

    def cut(self, a, b):
        """Nothing passes between nodes a and b. Heal with heal()."""
        if not self.table:
            self.table = "paxfs_test_%d" % self.port
            self._nft("add", "table", "ip", self.table)
            self._nft("add", "chain", "ip", self.table, "cut",
                      "{ type filter hook input priority 0 ; }")
        for x, y in ((a, b), (b, a)):
            for end in ("sport", "dport"):
                self._nft("add", "rule", "ip", self.table, "cut", "ip", "saddr", "127.0.0.%d" % x,
                          "ip", "daddr", "127.0.0.%d" % y, "tcp", end, self.port, "drop")

    def heal(self):
        if self.table:
            subprocess.run(["nft", "delete", "table", "ip", self.table], stderr=subprocess.DEVNULL)
            self.table = None

    # ---- the end

    def down(self):
        """Bounded and without exceptions, whatever state the cluster is in."""
        self.heal()
        subprocess.run(["nft", "delete", "table", "ip", "paxfs_test_%d" % self.port],
                       stderr=subprocess.DEVNULL)
        for k in self.running():
            for number in (signal.SIGKILL, signal.SIGCONT):
                try:
                    self.signal(k, number)
                except (OSError, Failed):
                    pass
        for _ in range(3):
            for point in mounts_below(self.dir):
                detach(point)
        deadline = now() + 5
        while self.running() and now() < deadline:
            time.sleep(0.01)
        if not mounts_below(self.dir):
            shutil.rmtree(self.dir, ignore_errors=True)

    def log_tails(self, lines=25):
        text = []
        for k in self.numbers():
            text.append("---- n%d, the end of its log" % k)
            text += self.log(k).splitlines()[-lines:]
        return "\n".join(text)

    def check_no_assertion(self):
        for k in self.numbers():
            for line in self.log(k).splitlines():
                check("assertion" not in line.lower() and "Sanitizer" not in line,
                      "n%d: %s" % (k, line))


# ---- what a test declares

def test(shared=False, nodes=3, up=True, verify=True, limit=120):
    """A test is a function of one Cluster; its name is the sentence it proves.
    shared: one cluster for all shared tests of a file. limit: seconds, then it has failed.
    verify: at the end the replicas must be equal, where all nodes run."""
    def mark(function):
        function.is_test = True
        function.shared, function.nodes, function.up = shared, nodes, up
        function.verify, function.limit = verify, limit
        return function
    return mark


def note(text):
    """A figure worth a place on the test's line."""
    with open(os.environ["PAXFS_TEST_NOTES"], "a") as f:
        f.write(text + "\n")

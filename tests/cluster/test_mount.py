"""mount.paxfs as mount(8) runs it, and what a mount is afterwards."""
import ctypes, errno, os, subprocess, time

from harness import MOUNT, PAXFS, Failed, check, detach, mounts_below, note, now, run, test, wait_until

# Not /sbin/fs.d, where mount(8) looks too: on a remount it takes /sbin/mount.fuse first.
HELPERS = ("/sbin/mount.paxfs", "/sbin/mount.fuse.paxfs")


def line_of(directory):
    """(options, type, source) of the mount at a directory, or None."""
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            if left.split()[4] == directory:
                return left.split()[5], right.split()[0], right.split()[1]
    return None


def replace_link(link, target):
    """Point @link to @target, or take it away."""
    if os.path.islink(link):
        os.unlink(link)
    if target:
        os.symlink(target, link)


def unmounted(c, k):
    run("umount", c.mnt(k))
    wait_until(lambda: c.status(k).get("mount") is None, 5, "n%d without a mount" % k)


def fails_with(number, call, *arguments):
    try:
        call(*arguments)
    except OSError as e:
        check(e.errno == number, "%s instead of %s" % (e, errno.errorcode[number]))
        return
    raise Failed("%s%r went well" % (call.__name__, arguments))


@test(shared=True)
def mount_8_finds_the_helper_and_umount_leaves_the_daemon(c):
    pid = c.pid(1)
    for link in HELPERS:
        check(os.path.islink(link) or not os.path.exists(link), "%s is in the way" % link)
    before = {link: os.readlink(link) for link in HELPERS if os.path.islink(link)}
    try:
        for link in HELPERS:
            replace_link(link, MOUNT)
        unmounted(c, 1)
        run("mount", "-t", "paxfs", c.state(1), c.mnt(1), "-o",
            "_netdev,nofail,x-systemd.automount,user,noexec,nosuid,timeo=30")
        options, kind, source = line_of(c.mnt(1))
        check(kind == "fuse.paxfs" and source == c.state(1), "%s %s" % (kind, source))
        check({"rw", "nosuid", "noexec", "nodev"} <= set(options.split(",")), "options %s" % options)
        with open(c.mnt(1, "f"), "w") as f:
            f.write("text")
        run("mount", "-o", "remount,ro", c.mnt(1))
        fails_with(errno.EROFS, os.mkdir, c.mnt(1, "d"))
        run("mount", "-o", "remount,rw", c.mnt(1))
        os.mkdir(c.mnt(1, "d"))
        result = run("mount", "-t", "paxfs", c.state(1), c.mnt(1), "-o", "frobnicate", expect=None)
        check(result.code != 0 and "frobnicate" in result.output, "mount(8) with a wrong option: %s" % result)
    finally:
        for link in HELPERS:
            replace_link(link, before.get(link))
    check(c.pid(1) == pid, "the daemon is another one")
    unmounted(c, 1)
    check(c.pid(1) == pid, "umount ended the daemon")
    run(PAXFS, "mount", c.state(1), c.mnt(1))


@test(shared=True)
def a_read_only_mount_reads_and_refuses_changes(c):
    with open(c.mnt(1, "seen"), "w") as f:
        f.write("text")
    unmounted(c, 2)
    run(MOUNT, c.state(2), c.mnt(2), "-o", "ro")
    check(open(c.mnt(2, "seen")).read() == "text", "cannot read")
    fails_with(errno.EROFS, os.mkdir, c.mnt(2, "no"))
    fails_with(errno.EROFS, os.unlink, c.mnt(2, "seen"))
    fails_with(errno.EROFS, open, c.mnt(2, "seen"), "a")
    run(MOUNT, c.state(2), c.mnt(2), "-o", "remount,rw")
    os.mkdir(c.mnt(2, "yes"))
    check(os.path.isdir(c.mnt(1, "yes")), "a directory made after remount,rw")
    unmounted(c, 2)
    run(MOUNT, c.state(2), c.mnt(2))


@test(shared=True)
def a_remount_refuses_what_it_cannot_change(c):
    for fake in ((), ("-f",)):
        result = run(MOUNT, c.state(1), c.mnt(1), *fake, "-o", "remount,timeo=5", expect=32)
        check("timeo" in result.output and "mount anew" in result.output, "%s" % result)
    run(MOUNT, c.state(1), c.mnt(1), "-o", "remount,ro,noatime")
    check({"ro", "noatime"} <= set(line_of(c.mnt(1))[0].split(",")), "%s" % (line_of(c.mnt(1)),))
    run(MOUNT, c.state(1), c.mnt(1), "-o", "remount,rw")
    check("rw" in line_of(c.mnt(1))[0].split(","), "%s" % (line_of(c.mnt(1)),))


class Held:
    """A file that is open on a mount: an aborted connection would take it away."""

    def __init__(self, c, k):
        self.k, self.file = k, open(c.mnt(k, "held"), "wb+", buffering=0)

    def check(self, what):
        try:
            self.file.write(b"x")
            os.fsync(self.file.fileno())
        except OSError as e:
            raise Failed("%s took n%d's mount away: %s" % (what, self.k, e))


@test(shared=True)
def whatever_is_done_to_another_place_of_a_live_mount_it_stays_alive(c):
    other, held = os.path.join(os.path.dirname(c.dir), "other"), Held(c, 1)
    os.makedirs(other, exist_ok=True)
    run("mount", "--bind", c.mnt(1), other)
    try:
        for state in (c.state(1), c.state(2)):
            for fake in ((), ("-f",)):
                result = run(MOUNT, state, other, *fake, expect=32)
                check("mount" in result.output, "%s" % result)
                held.check("mount.paxfs %s on a bind mount" % " ".join(fake))
        run(PAXFS, "umount", other)
        check(line_of(other) is None and line_of(c.mnt(1)), "not what was to be unmounted")
        held.check("paxfs umount of a bind mount")
        run("mount", "--bind", c.mnt(1), other)
        run(PAXFS, "umount", "-l", other)
        held.check("paxfs umount -l of a bind mount")
    finally:
        detach(other)
    run("unshare", "-m", "--propagation", "private", "sh", "-ec",
        'mount --move "$1" "$2"; "$3" umount "$2"', "sh", c.mnt(1), other, PAXFS)
    held.check("paxfs umount of a moved mount")
    check(line_of(c.mnt(1)), "the mount is gone")


@test(shared=True)
def a_mount_whose_directories_were_renamed_stays_alive(c):
    held, renamed = Held(c, 2), c.node(2) + "-renamed"
    os.rename(c.node(2), renamed)
    try:
        mnt = os.path.join(renamed, "mnt")
        result = run(MOUNT, c.state(1), mnt, expect=32)
        check("another state directory" in result.output, "%s" % result)
        held.check("mount.paxfs at its new name")
        result = run(PAXFS, "umount", mnt, expect=1)
        check("in use" in result.output, "%s" % result)
        held.check("paxfs umount at its new name")
    finally:
        os.rename(renamed, c.node(2))
    held.check("renaming back")


@test(shared=True)
def a_second_helper_does_not_take_away_what_the_first_has_not_handed_over(c):
    unmounted(c, 3)
    fd = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    data = "fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
    result = libc.mount(c.state(3).encode(), c.mnt(3).encode(), b"fuse.paxfs", 0, data.encode())
    check(result == 0, "mount(2): errno %d" % ctypes.get_errno())
    try:
        result = run(MOUNT, c.state(3), c.mnt(3), expect=32)
        check("already" in result.output, "%s" % result)
        check(len(os.read(fd, 1 << 20)) > 40, "no INIT")
    except OSError as e:
        raise Failed("the connection was aborted: %s" % e)
    finally:
        detach(c.mnt(3))
        os.close(fd)
    run(MOUNT, c.state(3), c.mnt(3))


@test(shared=True)
def a_pretended_mount_leaves_even_a_dead_one_alone(c):
    c.kill(3)
    before = line_of(c.mnt(3))
    run(MOUNT, c.state(3), c.mnt(3), "-f")
    check(before and line_of(c.mnt(3)) == before, "mount -f detached the dead mount")
    check(c.pid(3) is None, "mount -f started a daemon")
    run(MOUNT, c.state(3), c.mnt(3))
    check(c.pid(3), "no daemon")


@test(limit=60)
def dev_down_also_ends_a_node_that_mount_started(c):
    c.kill(1)
    run(MOUNT, c.state(1), c.mnt(1))
    pid = c.pid(1)
    check(pid, "no daemon of n1")
    c.dev("down")
    check(c.running() == [], "n%s run; n1 was %d" % (c.running(), pid))
    check(not mounts_below(c.dir), "mounts are left: %s" % mounts_below(c.dir))
    c.dev("down", "--delete")
    check(not os.path.exists(c.dir), "the directory is there")


@test(shared=True)
def a_mount_answers_other_users_and_asks_for_1_mib_at_once(c):
    os.chmod(os.path.dirname(os.path.dirname(c.dir)), 0o755) # mkdtemp makes them private
    os.chmod(os.path.dirname(c.dir), 0o755)
    with open(c.mnt(1, "public"), "w") as f:
        f.write("text")
    with open(c.mnt(1, "private"), "w") as f:
        f.write("text")
    os.chmod(c.mnt(1, "private"), 0o600)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    read = lambda name: subprocess.run(["cat", c.mnt(3, name)], capture_output=True, **nobody).returncode
    check(read("public") == 0 and read("private") == 1, "permissions are not those of a disk")
    touch = subprocess.run(["touch", c.mnt(3, "by-nobody")], capture_output=True, **nobody)
    check(touch.returncode == 1, "nobody may write in a directory of root")
    helper = subprocess.run([MOUNT, c.state(1), c.mnt(1)], capture_output=True, **nobody)
    check(helper.returncode == 1 and b"root" in helper.stderr, "mount.paxfs by nobody: %s" % helper)
    device = os.stat(c.mnt(1)).st_dev
    with open("/sys/class/bdi/%d:%d/read_ahead_kb" % (os.major(device), os.minor(device))) as f:
        check(f.read() == "4096\n", "the readahead window was not raised")


@test(shared=True)
def a_busy_mount_is_not_unmounted_but_detached_on_request(c):
    os.makedirs(c.mnt(3, "busy"), exist_ok=True)
    stands = subprocess.Popen(["sleep", "60"], cwd=c.mnt(3, "busy"))
    result = run(PAXFS, "umount", c.mnt(3), expect=1)
    check("in use" in result.output, "%s" % result)
    run(PAXFS, "umount", "-l", c.mnt(3))
    check(line_of(c.mnt(3)) is None, "still mounted")
    stands.kill()
    stands.wait()
    wait_until(lambda: c.status(3).get("mount") is None, 5, "the mount gone")
    run(PAXFS, "mount", c.state(3), c.mnt(3))
    result = run(PAXFS, "umount", "/proc", expect=1)
    check("/proc" in result.output, "%s" % result)


@test(limit=60)
def a_mount_appears_without_a_majority_and_can_be_taken_away(c):
    for k in (1, 2, 3):
        c.kill(k)
    began = now()
    run(MOUNT, c.state(1), c.mnt(1))
    took = now() - began
    note("mounted after %.1f s" % took)
    check(took < 3, "mount took %.1f s" % took)
    check(line_of(c.mnt(1)), "not mounted")
    ls = subprocess.Popen(["ls", c.mnt(1)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    check(ls.poll() is None, "ls did not wait: exit %s" % ls.poll())
    check("no_majority" in run(PAXFS, "status", "--state", c.mnt(1), expect=2).output, "status")
    ls.terminate()
    check(ls.wait(3) != 0, "ls cannot be ended")
    began = now()
    run(PAXFS, "stop", "--state", c.state(1))
    note("stopped after %.1f s" % (now() - began))
    check(not mounts_below(c.dir) or line_of(c.mnt(1)) is None, "the mount is still there")
    c.up()

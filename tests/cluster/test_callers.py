"""What the programs on a mount see of it: signals, names taken away, mounts made anew."""
import os, signal, subprocess, sys, time

from harness import MOUNT, Failed, check, now, run, test, wait_until

# Appends one byte while a timer fires; os.write() goes on after EINTR, as most programs do.
APPENDER = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
os.write(fd, b"x")
signal.setitimer(signal.ITIMER_REAL, 0)
"""

# Many threads of it wait at once.
WAITERS = """
import os, sys, threading
threads = [threading.Thread(target=os.fchmod, args=(int(fd), 0o600), daemon=True)
           for fd in sys.argv[1:]]
for thread in threads:
    thread.start()
print("ready", flush=True)
threads[0].join()
"""


def others(c, k):
    return [i for i in (1, 2, 3) if i != k]


def pause(c, nodes):
    for k in nodes:
        c.signal(k, signal.SIGSTOP)


def go_on(c, nodes):
    for k in nodes:
        c.signal(k, signal.SIGCONT)


@test()
def a_timer_makes_no_write_happen_twice(c):
    leader = c.leader()
    path = c.mnt(leader, "log")
    open(path, "w").close()
    for i in range(1, 6):
        pause(c, others(c, leader))
        writer = subprocess.Popen([sys.executable, "-S", "-c", APPENDER, path])
        time.sleep(0.3)
        go_on(c, others(c, leader))
        check(writer.wait(10) == 0, "the writer failed")
        check(os.stat(path).st_size == i, "%d bytes after %d writes" % (os.stat(path).st_size, i))


@test()
def without_a_majority_a_handler_of_ctrl_c_gets_its_turn(c):
    leader = c.leader()
    pause(c, others(c, leader))
    time.sleep(2.5) # beyond every lease
    try:
        program = subprocess.Popen([sys.executable, "-S", "-c",
                                    "import os, sys; print('ready', flush=True); os.stat(sys.argv[1])",
                                    c.mnt(leader)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        program.stdout.readline()
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        try:
            said = program.communicate(timeout=5)[1]
        except subprocess.TimeoutExpired:
            raise Failed("the program does not end by Ctrl-C")
        check(b"KeyboardInterrupt" in said, "it says %r" % said)
    finally:
        go_on(c, others(c, leader))


@test()
def thousands_of_calls_given_up_leave_a_mount_that_can_be_interrupted(c):
    leader = c.leader()
    files = [os.open(c.mnt(leader, str(i)), os.O_CREAT | os.O_WRONLY) for i in range(250)]
    pause(c, others(c, leader))
    time.sleep(2.5)
    try:
        for _ in range(16): # 4000 calls
            waiters = subprocess.Popen([sys.executable, "-S", "-c", WAITERS] + [str(f) for f in files],
                                       stdout=subprocess.PIPE, pass_fds=files)
            waiters.stdout.readline()
            waiters.kill()
            waiters.wait(10)
        began = now()
        cat = subprocess.Popen(["cat", c.mnt(leader, "f")], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        check(cat.poll() is None, "cat did not wait")
        cat.send_signal(signal.SIGINT)
        cat.wait(3)
        check(now() - began < 2, "interrupted after %.1f s" % (now() - began))
        waiting = c.status(leader)["mount"]["waiting"]
        check(waiting == 0, "%s still wait" % waiting)
    finally:
        go_on(c, others(c, leader))
    wait_until(lambda: os.path.isdir(c.mnt(leader)), 10, "calls answered again")


@test()
def what_is_deleted_while_a_host_has_no_mount_is_freed(c):
    def no_orphans(k):
        return lambda: c.status(k)["space"]["orphans"] == 0
    for i in range(20):
        open(c.mnt(1, "f%d" % i), "w").close()
    os.listdir(c.mnt(3))
    run("umount", c.mnt(3))
    for i in range(20):
        os.unlink(c.mnt(1, "f%d" % i))
    wait_until(no_orphans(1), 10, "no orphans")


@test()
def a_mount_right_after_an_umount_is_accepted(c):
    for _ in range(20):
        run("umount", c.mnt(1))
        run(MOUNT, c.state(1), c.mnt(1))
        os.mkdir(c.mnt(1, "d"))
        os.rmdir(c.mnt(1, "d"))


@test()
def a_mount_right_after_a_lazy_umount_of_a_busy_one_is_accepted(c):
    with open(c.mnt(1, "f"), "w"):
        run("umount", "-l", c.mnt(1))
        run(MOUNT, c.state(1), c.mnt(1))
        os.mkdir(c.mnt(1, "d"))
    check(os.path.isdir(c.mnt(2, "d")), "what was done on the new mount is not there")

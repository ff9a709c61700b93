"""Nodes die, hang and are cut off while all mounts are written to."""
import errno, os, signal, subprocess, time

import harness
from harness import Failed, STALL_MAX_S, check, mounts_below, note, now, run, test, wait_until
from writers import Load

ROUNDS = 20


def check_stall(load, nodes=None):
    stall = load.longest_stall(nodes)
    note("longest stall %.2f s, %d operations" % (stall, load.operations()))
    check(stall <= STALL_MAX_S, "a call on a surviving mount took %.2f s" % stall)


@test(limit=300)
def kill_9_of_leader_and_followers_in_turn_loses_nothing_and_no_survivor_sees_an_error(c):
    load, stalls = Load(c, (1, 2, 3)), []
    load.await_progress()
    for turn in range(ROUNDS):
        victim = c.leader() if turn % 2 == 0 else c.follower()
        survivors = [k for k in (1, 2, 3) if k != victim]
        c.kill(victim)
        load.lost(victim)
        load.await_progress(20, survivors)
        c.start(victim)
        load.begin(victim)
        load.await_progress(20)
        # A writer that ends well here never saw an error; each turn begins with new ones.
        load.end()
        stalls.append(load.longest_stall())
        for k in (1, 2, 3):
            load.begin(k)
    load.end()
    note("%d rounds" % ROUNDS)
    load.check_kept(c.follower())
    check_stall(load)


@test(limit=150)
def a_node_stopped_for_5_seconds_is_not_missed_and_catches_up(c):
    for which in ("leader", "follower"):
        load = Load(c, (1, 2, 3))
        load.await_progress()
        victim = c.leader() if which == "leader" else c.follower()
        survivors = [k for k in (1, 2, 3) if k != victim]
        c.signal(victim, signal.SIGSTOP)
        try:
            deadline = now() + 5
            while now() < deadline:
                load.await_progress(5, survivors)
        finally:
            c.signal(victim, signal.SIGCONT)
        load.await_progress(20) # the one that was stopped as well
        load.end()
        note("%s:" % which)
        check_stall(load, survivors)
        for k in (1, 2, 3):
            load.check_kept(k)


@test(limit=150)
def a_pair_of_nodes_cut_from_each_other_stalls_no_mount_and_loses_nothing(c):
    leader = c.leader()
    a, b = [k for k in (1, 2, 3) if k != leader]
    # Connections that heal before they are given up, and such that do not.
    for pair, seconds in (((a, b), 3), ((leader, a), 3), ((leader, b), 7)):
        load = Load(c, (1, 2, 3))
        load.await_progress()
        c.cut(*pair)
        try:
            deadline = now() + seconds
            while now() < deadline:
                load.await_progress(5)
        finally:
            c.heal()
        deadline = now() + 2
        while now() < deadline:
            load.await_progress(5)
        load.end()
        note("%s cut for %d s:" % ("leader and follower" if leader in pair else "followers",
                                   seconds))
        check_stall(load)
        for k in (1, 2, 3):
            load.check_kept(k)
        c.check_equal()


@test(limit=150)
def a_leader_cut_from_everybody_is_replaced_and_comes_back(c):
    load = Load(c, (1, 2, 3))
    load.await_progress()
    leader = c.leader()
    survivors = [k for k in (1, 2, 3) if k != leader]
    for k in survivors:
        c.cut(leader, k)
    try:
        deadline = now() + 5
        while now() < deadline:
            load.await_progress(5, survivors)
    finally:
        c.heal()
    load.await_progress(20, seconds=30)
    load.end()
    check_stall(load, survivors)
    for k in (1, 2, 3):
        load.check_kept(k)


@test(limit=120)
def all_killed_at_once_under_load_come_back_with_everything_acknowledged(c):
    for _ in range(3):
        load = Load(c, (1, 2, 3))
        load.await_progress(200)
        for k in (1, 2, 3):
            c.signal(k, signal.SIGKILL)
        for k in (1, 2, 3):
            load.lost(k)
        wait_until(lambda: not c.running(), 10, "all daemons gone")
        c.up()
        for k in (1, 2, 3):
            load.check_kept(k)
        note("%d operations" % load.operations())
        c.check_equal()


@test(limit=120)
def without_a_majority_calls_wait_can_be_interrupted_and_go_on_with_it(c):
    leader = c.leader()
    alone = c.follower()
    third = next(k for k in (1, 2, 3) if k not in (leader, alone))
    with open(c.mnt(alone, "before"), "w") as f:
        f.write("here")
    c.kill(leader)
    c.kill(third)
    time.sleep(2.5) # beyond every lease: from here on nothing may be answered

    touch = subprocess.Popen(["touch", c.mnt(alone, "interrupted")])
    cat = subprocess.Popen(["cat", c.mnt(alone, "before")], stdout=subprocess.PIPE)
    time.sleep(1)
    check(touch.poll() is None, "touch did not wait: exit %s" % touch.poll())
    check(cat.poll() is None, "cat did not wait: exit %s" % cat.poll())
    for name, process in (("touch", touch), ("cat", cat)):
        began = now()
        process.send_signal(signal.SIGINT) # Ctrl-C
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            raise Failed("%s does not end by SIGINT" % name)
        check(now() - began < 0.5, "%s took %.2f s to end" % (name, now() - began))
        check(process.returncode != 0, "%s exits 0" % name)
        note("%s interrupted after %.0f ms" % (name, 1000 * (now() - began)))
    check(c.status(alone)["health"] == "not working", "status: %s" % c.status(alone)["health"])
    check(run(harness.PAXFS, "status", "--state", c.mnt(alone), expect=2).code == 2, "status")

    waiting = subprocess.Popen(["sh", "-c", "echo done > %s" % c.mnt(alone, "waited")])
    time.sleep(0.5)
    check(waiting.poll() is None, "a write did not wait")
    c.start(third)
    check(waiting.wait(15) == 0, "the write that waited failed")
    for k in (alone, third):
        check(open(c.mnt(k, "waited")).read() == "done\n", "what waited is not there on n%d" % k)
        check(open(c.mnt(k, "before")).read() == "here", "what was there is not on n%d" % k)
    c.start(leader)


@test(limit=120)
def a_mount_with_timeo_answers_eio_without_a_majority_and_works_with_it_again(c):
    run("umount", c.mnt(3))
    wait_until(lambda: (c.status(3) or {}).get("mount", 0) is None, 5, "n3 without a mount")
    run(harness.MOUNT, c.state(3), c.mnt(3), "-o", "timeo=2,noatime")
    with open(c.mnt(3, "f"), "w") as f:
        f.write("text")
    c.kill(1)
    c.kill(2)
    time.sleep(2.5)
    for call in (lambda: os.mkdir(c.mnt(3, "d")), lambda: os.stat(c.mnt(3, "f")),
                 lambda: os.listdir(c.mnt(3)), lambda: open(c.mnt(3, "f"), "a")):
        began = now()
        try:
            call()
        except OSError as e:
            check(e.errno == errno.EIO, "not EIO: %s" % e)
        else:
            raise Failed("a call without a majority went well")
        check(1.5 < now() - began < 4, "timeo=2 ended after %.2f s" % (now() - began))
    c.start(1)
    with open(c.mnt(3, "f"), "a") as f:
        f.write(" more")
    check(open(c.mnt(1, "f")).read() == "text more", "it does not work again")
    c.start(2)


@test(limit=180)
def a_graceful_stop_takes_less_than_10_seconds_with_and_without_a_majority(c):
    load = Load(c, (1, 2, 3))
    load.await_progress()
    leader = c.leader()
    result = c.stop(leader)
    load.lost(leader)
    note("leader stops in %.1f s" % result.seconds)
    check(result.seconds < 10, "the leader took %.1f s to stop" % result.seconds)
    check(not any(p == c.mnt(leader) for p in mounts_below(c.dir)), "its mount is still there")
    load.await_progress()
    load.end()
    check_stall(load)

    left = c.running()
    c.kill(left[0])
    last = left[1]
    waiting = subprocess.Popen(["touch", c.mnt(last, "waits")], stderr=subprocess.DEVNULL)
    time.sleep(2.5)
    check(waiting.poll() is None, "touch did not wait")
    result = c.stop(last)
    note("last one stops in %.1f s" % result.seconds)
    check(result.seconds < 10, "the last one took %.1f s to stop" % result.seconds)
    try:
        check(waiting.wait(3) != 0, "a call that waited went well at the stop")
    except subprocess.TimeoutExpired:
        raise Failed("a call that waited still waits after the stop")
    c.up()
    for k in (1, 2, 3):
        load.check_kept(k)


@test(limit=90)
def paxfs_stop_ends_the_daemon_and_leader_transfer_moves_the_leader_without_a_stall(c):
    load = Load(c, (1, 2, 3))
    load.await_progress()
    before = c.leader()
    run(harness.PAXFS, "leader", "transfer", "--state", c.state(before))
    wait_until(lambda: c.leader() != before, 5, "another leader")
    load.await_progress()
    load.end()
    stall = load.longest_stall()
    note("longest stall at the hand-over %.2f s" % stall)
    check(stall < 1, "the hand-over stalled for %.2f s" % stall)
    last = c.follower()
    run(harness.PAXFS, "stop", "--state", c.mnt(last))
    check(not c.pid(last), "the daemon runs after paxfs stop")
    c.start(last)


@test(limit=90)
def a_dead_mount_that_is_a_working_directory_is_detached_and_mounted_anew(c):
    os.mkdir(c.mnt(2, "inside"))
    stands = subprocess.Popen(["sleep", "60"], cwd=c.mnt(2, "inside"))
    holds = os.open(c.mnt(2, "inside"), os.O_RDONLY)
    c.kill(2)
    try:
        os.stat(c.mnt(2))
        raise Failed("the mount of a killed daemon answers")
    except OSError as e:
        check(e.errno == errno.ENOTCONN, "a dead mount says %s" % e)
    c.start(2)
    check(os.listdir(c.mnt(2)) == ["inside"], "the new mount does not show the files")
    check(sum(p == c.mnt(2) for p in mounts_below(c.dir)) == 1, "mounts are stacked")
    os.close(holds)
    stands.kill()
    stands.wait()
    c.dev("up", c.nodes, timeout=60) # and up on what is up changes nothing

"""Hosts join, leave and replace each other while the mounts are used; laggards get snapshots."""
import json, os, shutil, signal, subprocess, time

import harness
from harness import (PAXFS, PAXFSD, Failed, check, mounts_below, note, now, run, test, wait_until)
from test_faults import check_stall
from writers import Load

MIB = 1 << 20


def fill(path, size):
    """A file of @size bytes that do not repeat within a MiB. Returns its first MiB."""
    block = os.urandom(MIB)
    with open(path, "wb") as f:
        for _ in range(size // MIB):
            f.write(block)
    return block


def check_filled(path, size, block):
    with open(path, "rb") as f:
        for i in range(size // MIB):
            check(f.read(MIB) == block, "%s differs in MiB %d" % (path, i))
        check(f.read(1) == b"", "%s is longer than %d" % (path, size))


def voters(c, by):
    return sorted(m["name"] for m in c.status(by)["members"] if m["role"] == "voter")


@test(limit=240)
def a_fourth_and_a_fifth_host_join_under_load_and_then_any_two_of_five_may_die(c):
    block = fill(c.mnt(1, "before"), 64 * MIB)
    load = Load(c, (1, 2, 3))
    load.await_progress()
    check(c.add() == 4 and c.add() == 5, "not the fourth and the fifth")
    load.await_progress()
    load.end()
    check_stall(load)
    check(voters(c, 4) == ["n1", "n2", "n3", "n4", "n5"], "voters: %s" % voters(c, 4))
    for k in (4, 5):
        load.check_kept(k)
        check_filled(c.mnt(k, "before"), 64 * MIB, block)
    c.check_equal()

    load = Load(c, (1, 2, 3, 4, 5))
    load.await_progress()
    for _ in range(2):
        victim = c.leader()
        c.kill(victim)
        load.lost(victim)
        load.await_progress(20, c.running())
    load.end()
    check_stall(load, c.running())
    for k in c.running():
        load.check_kept(k)


@test(limit=180)
def a_killed_node_is_replaced_under_load_and_comes_back_only_to_be_told_so(c):
    victim = c.follower()
    load = Load(c, (1, 2, 3))
    load.await_progress()
    c.kill(victim)
    load.lost(victim)
    load.await_progress(20, c.running())
    new = c.replace(victim)
    load.await_progress(20, [k for k in c.running() if k != new])
    load.end()
    check_stall(load, [k for k in c.running() if k != new])
    load.check_kept(new)
    check("n%d" % victim not in voters(c, new) and len(voters(c, new)) == 3,
          "voters: %s" % voters(c, new))

    # The newcomer counts: with another one dead it and the third go on.
    c.kill(c.leader())
    with open(c.mnt(new, "after"), "w") as f:
        f.write("two of three")

    # The retired one is told, stops, and keeps what it had.
    result = run(PAXFSD, "--state", c.state(victim), "--foreground", expect=1, timeout=30)
    check("removed" in result.output or "retired" in result.output, "it does not say why: %s" % result)
    check(os.path.exists(c.state(victim, "checkpoint")), "its directory is gone")


@test(limit=180)
def the_leader_is_removed_under_load_and_the_others_go_on(c):
    c.add()
    load = Load(c, (1, 2, 3, 4))
    load.await_progress()
    leader = c.leader()
    rest = [k for k in (1, 2, 3, 4) if k != leader]
    load.lost(leader) # its mount goes with it
    c.dev("remove", "n%d" % leader, timeout=60)
    check(not c.pid(leader), "the removed node still runs")
    load.await_progress(20, rest)
    load.end()
    check_stall(load, rest)
    for k in rest:
        load.check_kept(k)
        check("n%d" % leader not in voters(c, k), "n%d still counts it" % k)
    again = c.member(rest[0], "remove", "n%d" % leader, expect=None)
    check("n%d" % leader in again.output and "assert" not in again.output,
          "removing it again: %s" % again)


@test(limit=120)
def a_change_that_would_lose_the_quorum_is_refused_with_the_safe_command(c):
    victim = c.follower()
    c.kill(victim)
    by, other = c.running()
    result = c.member(by, "remove", "n%d" % other, expect=1)
    check("quorum" in result.output and "n%d" % victim in result.output,
          "not the reason and what to do: %s" % result)
    check(c.role("n%d" % other, by) == "voter", "it was removed all the same")
    c.member(by, "remove", "n%d" % victim)
    wait_until(lambda: c.role("n%d" % victim, by) is None, 10, "the dead one has left")
    result = c.member(by, "ls")
    check("2 of 2 voters are up; you can lose 0" in result.output, "member ls: %s" % result)
    with open(c.mnt(by, "x"), "w") as f:
        f.write("two of two")


@test(limit=120)
def a_token_is_good_for_one_host_which_may_try_again(c):
    def join(state, k, token, **options):
        return run(PAXFS, "join", "--state", state, "--listen", "127.0.0.%d:%d" % (k, c.port), token,
                   timeout=60, **options)
    root = os.path.dirname(c.dir)
    token = json.loads(c.member(1, "add", "n4", "--json").output)["token"]
    again = json.loads(c.member(2, "add", "n4", "--json").output)["token"]
    check(token == again, "asked again, another invitation: %s and %s" % (token, again))
    secret = token.split(":")[2]
    bad = join(os.path.join(root, "bad"), 4, token.replace(secret, secret[::-1]), expect=1)
    check("token" in bad.output, "not what to do: %s" % bad)
    cut = join(os.path.join(root, "cut"), 4, token[:60], expect=1)
    check("copy all of it" in cut.output, "not what to do: %s" % cut)

    first, second = (os.path.join(root, name) for name in ("first", "second"))
    join(first, 4, token)
    join(first, 4, token) # a repetition changes nothing
    late = join(second, 5, token, expect=1)
    check("token" in late.output, "a used token: %s" % late)
    members = [m["name"] for m in c.status(3)["members"]]
    check(members.count("n4") == 1 and len(members) == 4, "members: %s" % members)
    strange = join(os.path.join(root, "third"), 5,
                   token.replace(token.split(":")[1], "00000000000000aa"), expect=1)
    check("cluster" in strange.output, "a token of another cluster: %s" % strange)
    c.member(1, "remove", "n4")


@test(limit=240)
def a_node_down_while_gigabytes_are_written_catches_up_by_snapshot_and_stalls_nobody(c):
    size = (2048 if harness.LONG else 1280) * MIB
    victim = c.follower()
    c.kill(victim)
    rest = c.running()
    block = fill(c.mnt(rest[0], "big"), size)
    logs = [c.status(k)["log"]["bytes"] for k in rest]
    note("%d MiB written, logs of %s MiB" % (size // MIB, [b // MIB for b in logs]))
    check(max(logs) < 1300 * MIB, "the logs grow without bound: %s" % logs)
    load = Load(c, rest)
    load.await_progress()
    began = now()
    c.start(victim)
    wait_until(lambda: all(m["lag_slots"] < 1000 for m in c.status(victim)["members"]
                           if m["name"] == "n%d" % victim) and
               not c.status(victim).get("needs_snapshot"), 120, "n%d has caught up" % victim)
    note("caught up in %.1f s" % (now() - began))
    load.await_progress()
    load.end()
    check_stall(load)
    check("snapshot" in c.log(victim), "not by snapshot: see its log")
    check_filled(c.mnt(victim, "big"), size, block)
    load.check_kept(victim)
    c.check_equal(60)


@test(limit=180)
def a_node_away_while_all_it_knew_were_replaced_finds_its_way_back(c):
    away = c.follower()
    c.kill(away)
    for k in [k for k in (1, 2, 3) if k != away]:
        c.replace(k)
    rest = c.running()
    with open(c.mnt(rest[0], "news"), "w") as f:
        f.write("all others are new")
    c.start(away)
    wait_until(lambda: c.status(away).get("leader") in ["n%d" % k for k in rest], 40,
               "n%d follows one of those it has never met" % away)
    with open(c.mnt(away, "news")) as f:
        check(f.read() == "all others are new", "not what was written")
    c.kill(rest[0]) # it counts: with the other one it is a majority
    with open(c.mnt(rest[1], "more"), "w") as f:
        f.write("two of three")


@test(nodes=5, limit=150)
def five_nodes_outlive_two(c):
    outlive(c, 2)


@test(nodes=7, limit=200)
def seven_nodes_outlive_three(c):
    outlive(c, 3)


def outlive(c, deaths):
    nodes = c.running()
    load = Load(c, nodes)
    load.await_progress()
    for turn in range(deaths):
        victim = c.leader() if turn % 2 == 0 else c.follower()
        c.kill(victim)
        load.lost(victim)
        load.await_progress(20, c.running())
    load.end()
    check_stall(load, c.running())
    dead = [k for k in nodes if not c.pid(k)]
    for k in dead:
        c.start(k)
    for k in nodes:
        load.check_kept(k)


@test(limit=90)
def the_leadership_is_handed_over_without_a_stall(c):
    load = Load(c, (1, 2, 3))
    load.await_progress()
    for _ in range(5):
        before = c.leader()
        run(PAXFS, "leader", "transfer", "--state", c.state(before))
        wait_until(lambda: c.leader() != before, 5, "another leader than n%d" % before)
        load.await_progress(20)
    load.end()
    stall = load.longest_stall()
    note("longest stall %.3f s" % stall)
    check(stall < 0.5, "a hand-over took %.2f s" % stall)


@test(limit=90)
def what_a_dead_host_held_is_released_after_its_session_expires(c):
    victim = c.follower()
    by = next(k for k in c.running() if k != victim)
    holder = subprocess.Popen(["sleep", "1000"], stdin=open(c.mnt(victim, "held"), "w+"))
    try:
        with open(c.mnt(victim, "held"), "wb") as f:
            f.write(b"x" * MIB)
        os.unlink(c.mnt(by, "held"))
        wait_until(lambda: c.status(by)["space"]["orphans"] == 1, 5, "the orphan")
        began = now()
        c.kill(victim)
        wait_until(lambda: c.status(by)["space"]["orphans"] == 0, 30, "the orphan is released")
        took = now() - began
        note("released after %.1f s" % took)
        check(took > 8, "released after %.1f s: the session cannot have expired" % took)
    finally:
        holder.kill()
        holder.wait()
    c.start(victim)
    with open(c.mnt(victim, "again"), "w") as f: # with a new epoch
        f.write("here")


@test(limit=120)
def a_host_cut_off_longer_than_its_session_lasts_comes_back_and_goes_on(c):
    victim = c.follower()
    rest = [k for k in c.running() if k != victim]
    fd = os.open(c.mnt(victim, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"before\n")
    for k in rest:
        c.cut(victim, k)
    writer = subprocess.Popen(["sh", "-c", "echo during >> %s" % c.mnt(victim, "log")])
    time.sleep(14)
    wait_until(lambda: "session_expired" in "".join(c.log(k) for k in rest), 10,
               "the session was expired")
    c.heal()
    check(writer.wait(20) == 0, "the write that waited failed")
    os.write(fd, b"after\n")
    os.close(fd)
    with open(c.mnt(rest[0], "log")) as f:
        text = f.read()
    check(text == "before\nduring\nafter\n", "the log says %r" % text)


@test(limit=90)
def a_member_moves_to_another_address(c):
    victim = c.follower()
    by = c.leader()
    c.member(by, "set-addr", "n%d" % victim, "127.0.0.%d:%d" % (victim, c.port + 1))
    wait_until(lambda: all(m["connected"] for m in c.status(by)["members"]), 10, "all connected")
    members = {m["name"]: m for m in c.status(victim)["members"]}
    check(members["n%d" % victim]["address"].endswith(":%d" % (c.port + 1)), "not moved: %s" % members)
    c.stop(victim)
    c.start(victim)
    with open(c.mnt(victim, "x"), "w") as f:
        f.write("there")
    wait_until(lambda: all(m["connected"] for m in c.status(by)["members"]), 10, "connected again")


@test(limit=60)
def a_follower_holds_a_read_lease_and_answers_alone(c):
    follower = c.follower()
    path = c.mnt(follower, "quiet")
    with open(path, "w") as f:
        f.write("x")
    leader = c.leader()
    lease = wait_until(lambda: next(m["lease_ms"] for m in c.status(follower)["members"]
                                    if m["name"] == "n%d" % follower), 5, "a read lease")
    note("lease %d ms" % lease)
    time.sleep(0.2)
    c.signal(leader, signal.SIGSTOP)
    try:
        began = now()
        os.stat(path) # neither the leader nor anybody is asked
        took = now() - began
    finally:
        c.signal(leader, signal.SIGCONT)
    note("stat took %.1f ms beside a leader that hangs" % (took * 1000))
    check(took < 0.2, "it waited for the leader: %.2f s" % took)

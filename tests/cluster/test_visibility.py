"""A change that completed on one mount is there for the next operation on every other, each time."""
import errno, os

from harness import check, note, now, test

ROUNDS = 1000


def others(k):
    return [n for n in (1, 2, 3) if n != k]


def each_round(c, change, look):
    """change(k, i) on mount k, then look(n, i) on the two others: all ROUNDS times it must hold."""
    stale, began = [], now()
    for i in range(ROUNDS):
        k = i % 3 + 1
        change(k, i)
        for n in others(k):
            found = look(n, i)
            if found is not True:
                stale.append("round %d, changed on n%d, seen on n%d: %r" % (i, k, n, found))
    seen = 2 * ROUNDS - len(stale)
    note("%d of %d, %.0f rounds/s" % (seen, 2 * ROUNDS, ROUNDS / (now() - began)))
    check(not stale, "%d stale looks, the first: %s" % (len(stale), stale[:3]))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def directory(c, name):
    os.mkdir(c.mnt(1, name))
    return lambda k, *path: c.mnt(k, name, *path)


@test(shared=True)
def a_created_name_is_there(c):
    at = directory(c, "create")

    def create(k, i):
        os.close(os.open(at(k, "f%d" % i), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    # looked up before, everywhere: the kernel then knows that it is not there
    def change(k, i):
        for n in others(k):
            if os.path.lexists(at(n, "f%d" % i)):
                raise AssertionError("there before it was made")
        create(k, i)
    each_round(c, change, lambda n, i: os.path.lexists(at(n, "f%d" % i)))


@test(shared=True)
def written_and_closed_data_is_read(c):
    at = directory(c, "write")

    def change(k, i):
        with open(at(k, "f%d" % (i % 50)), "wb") as f:
            f.write(b"%d " % i * 100)
    each_round(c, change, lambda n, i: read(at(n, "f%d" % (i % 50))) == b"%d " % i * 100)


@test(shared=True)
def an_overwrite_is_read_through_a_descriptor_opened_long_before(c):
    at = directory(c, "overwrite")
    with open(at(1, "f"), "wb") as f:
        f.write(b"-" * 8192)
    held = {k: os.open(at(k, "f"), os.O_RDWR) for k in (1, 2, 3)}

    def change(k, i):
        os.pwrite(held[k], b"%08d" % i, 4090) # across a page boundary
    each_round(c, change, lambda n, i: os.pread(held[n], 8, 4090) == b"%08d" % i)
    for fd in held.values():
        os.close(fd)


@test(shared=True)
def a_renamed_file_has_its_new_name_and_not_the_old(c):
    at = directory(c, "rename")
    with open(at(1, "f0"), "wb") as f:
        f.write(b"data")

    def change(k, i):
        os.rename(at(k, "f%d" % i), at(k, "f%d" % (i + 1)))

    def look(n, i):
        return not os.path.lexists(at(n, "f%d" % i)) and read(at(n, "f%d" % (i + 1))) == b"data"
    each_round(c, change, look)


@test(shared=True)
def an_unlinked_name_is_gone(c):
    at = directory(c, "unlink")

    def change(k, i):
        with open(at(k, "f"), "wb"):
            pass
        for n in others(k):
            os.stat(at(n, "f"))
        os.unlink(at(k, "f"))

    def look(n, i):
        try:
            os.close(os.open(at(n, "f"), os.O_RDONLY))
        except OSError as e:
            return e.errno == errno.ENOENT
        return "opened"
    each_round(c, change, look)


@test(shared=True)
def a_new_directory_is_listed_and_a_removed_one_is_not(c):
    at = directory(c, "list")

    def change(k, i):
        os.mkdir(at(k, "d%d" % i))
        if i >= 10:
            os.rmdir(at(k, "d%d" % (i - 10)))

    def look(n, i):
        wanted = {"d%d" % j for j in range(max(0, i - 9), i + 1)}
        found = set(os.listdir(at(n)))
        return True if found == wanted else (wanted ^ found)
    each_round(c, change, look)


@test(shared=True)
def an_append_is_in_the_size_and_appends_of_all_hosts_never_overlap(c):
    at = directory(c, "append")
    open(at(1, "f"), "wb").close()
    held = {k: os.open(at(k, "f"), os.O_WRONLY | os.O_APPEND) for k in (1, 2, 3)}

    def change(k, i):
        os.write(held[k], b"%07d\n" % i)
    each_round(c, change, lambda n, i: os.stat(at(n, "f")).st_size == 8 * (i + 1))
    for fd in held.values():
        os.close(fd)
    wanted = b"".join(b"%07d\n" % i for i in range(ROUNDS))
    check(read(at(1, "f")) == wanted, "the lines are not those appended")


@test(shared=True)
def modes_owners_and_times_are_those_set_last(c):
    at = directory(c, "attributes")
    open(at(1, "f"), "wb").close()

    def change(k, i):
        os.chmod(at(k, "f"), 0o400 + i % 0o200)
        os.chown(at(k, "f"), i, i + 1)
        os.utime(at(k, "f"), ns=(i * 1000, i * 1001))

    def look(n, i):
        st = os.stat(at(n, "f"))
        found = (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_atime_ns, st.st_mtime_ns)
        wanted = (0o400 + i % 0o200, i, i + 1, i * 1000, i * 1001)
        return True if found == wanted else (wanted, found)
    each_round(c, change, look)


@test(shared=True)
def a_truncated_file_is_short_and_its_old_tail_never_returns(c):
    at = directory(c, "truncate")

    def change(k, i):
        if i % 2 == 0:
            with open(at(k, "f"), "wb") as f:
                f.write(b"x" * 10000)
        else:
            os.truncate(at(k, "f"), 100)
            os.truncate(at(k, "f"), 5000)

    def look(n, i):
        return read(at(n, "f")) == (b"x" * 10000 if i % 2 == 0 else b"x" * 100 + b"\0" * 4900)
    each_round(c, change, look)

"""Ordinary tools on the mounts: what one host makes, another host sees whole."""
import hashlib, os, random, shutil, sqlite3, sys

import harness
from harness import check, note, now, run, test


def make_tree(top, files, seed=1):
    """Files of 0 to 20,000 bytes, some links, modes and old times, in nested directories."""
    r = random.Random(seed)
    directories = [top]
    os.makedirs(top)
    for i in range(files):
        if i % 20 == 0:
            directory = os.path.join(r.choice(directories), "d%d" % i)
            os.mkdir(directory)
            directories.append(directory)
        path = os.path.join(r.choice(directories), "f%d" % i)
        if i % 50 == 7:
            os.symlink("../f%d" % (i - 1), path)
            continue
        with open(path, "wb") as f:
            f.write(r.randbytes(r.choice((0, 1, 100, 3000, 20000))))
        os.chmod(path, r.choice((0o600, 0o644, 0o755)))
        os.utime(path, ns=(r.randrange(10**18), r.randrange(10**18)))
        if i % 50 == 9:
            os.link(path, path + ".hard")


def scratch(cluster, name):
    """A place outside the mounts, gone with the cluster."""
    path = os.path.join(os.path.dirname(cluster.dir), name)
    shutil.rmtree(path, ignore_errors=True)
    return path


def listing(top):
    """What find says of each file: type, mode, links, owner, size, mtime, target, name. Directories
    have no size that two filesystems would agree on."""
    return run("find", ".", "-printf", "%P %y %m %U:%G %l ", "(", "-type", "d", "-printf", "\n", "-o",
               "-printf", "%s %n %T@\n", ")", cwd=top).output.split("\n")


def check_same(a, b):
    run("diff", "-r", "--no-dereference", a, b)
    one, two = sorted(listing(a)), sorted(listing(b))
    differ = [line for line in zip(one, two) if line[0] != line[1]]
    check(len(one) == len(two) and not differ, "find differs between %s and %s: %s" % (a, b, differ[:5]))


GIT = dict(os.environ, GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a",
           GIT_COMMITTER_EMAIL="a@b", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_COUNT="1",
           GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")


@test(shared=True)
def git_clones_and_commits_on_one_mount_and_fscks_on_another(c):
    source = scratch(c, "source")
    make_tree(source, 300)
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        run("git", *arguments, cwd=source, env=GIT)
    run("git", "clone", "-q", source, c.mnt(1, "clone"), env=GIT)
    for i, k in enumerate((1, 2, 3, 1)): # hosts take turns
        with open(c.mnt(k, "clone", "f1"), "ab") as f:
            f.write(b"line %d\n" % i)
        run("git", "commit", "-qam", "commit %d" % i, cwd=c.mnt(k, "clone"), env=GIT)
    for k in (1, 2, 3):
        run("git", "fsck", "--full", "--strict", cwd=c.mnt(k, "clone"), env=GIT)
        status = run("git", "status", "--porcelain", cwd=c.mnt(k, "clone"), env=GIT).output
        check(status == "", "git status on n%d: %s" % (k, status))
        log = run("git", "log", "--format=%s", cwd=c.mnt(k, "clone"), env=GIT).output.split("\n")
        check(log[:5] == ["commit 3", "commit 2", "commit 1", "commit 0", "first"], "log: %s" % log)
    run("git", "gc", "-q", cwd=c.mnt(2, "clone"), env=GIT)
    run("git", "fsck", "--full", "--strict", cwd=c.mnt(3, "clone"), env=GIT)


@test(shared=True)
def a_tar_of_thousands_of_files_is_the_same_on_every_mount(c):
    source, archive = scratch(c, "tree"), scratch(c, "tree.tar")
    make_tree(source, 2000)
    run("tar", "c", "--format=pax", "-f", archive, "-C", source, ".")
    os.mkdir(c.mnt(1, "tar"))
    began = now()
    run("tar", "xpf", archive, "-C", c.mnt(1, "tar"))
    note("untar %.1f s" % (now() - began))
    for k in (1, 2, 3):
        check_same(source, c.mnt(k, "tar"))


@test(shared=True)
def cp_rsync_mv_rm_find_du_and_sed_do_what_they_do_on_a_disk(c):
    source = scratch(c, "tools")
    make_tree(source, 400, seed=2)
    run("cp", "-a", source, c.mnt(1, "cp"))
    check_same(source, c.mnt(2, "cp"))
    run("rsync", "-aH", source + "/", c.mnt(2, "rsync"))
    check_same(source, c.mnt(3, "rsync"))
    again = run("rsync", "-aHi", source + "/", c.mnt(1, "rsync")).output
    check(again == "", "a second rsync, on another mount, found changes: %s" % again[:400])
    run("cp", "-a", c.mnt(3, "cp"), c.mnt(3, "inside"))
    check_same(c.mnt(1, "cp"), c.mnt(2, "inside"))

    run("mv", c.mnt(3, "inside"), c.mnt(3, "moved"))
    check(not os.path.exists(c.mnt(1, "inside")), "the old name of a moved directory is there")
    check_same(c.mnt(1, "cp"), c.mnt(1, "moved"))
    run("mv", c.mnt(2, "moved"), scratch(c, "out")) # to another filesystem
    check_same(source, os.path.join(os.path.dirname(c.dir), "out"))
    check(not os.path.exists(c.mnt(3, "moved")), "mv left its source")

    sizes = [run("du", "-s", "--apparent-size", "-B1", c.mnt(k, "cp")).output.split()[0]
             for k in (1, 2, 3)]
    check(len(set(sizes)) == 1, "du differs: %s" % sizes)
    with open(c.mnt(1, "text"), "w") as f:
        f.write("one\n" * 1000)
    run("sed", "-i", "s/one/two/", c.mnt(2, "text"))
    check(open(c.mnt(3, "text")).read() == "two\n" * 1000, "sed -i is not seen")
    run("rm", "-rf", c.mnt(2, "cp"), c.mnt(2, "rsync"))
    left = sorted(os.listdir(c.mnt(3)))
    check("cp" not in left and "rsync" not in left, "rm -rf left %s" % left)


@test(shared=True)
def a_c_project_builds_with_make_in_parallel_and_runs_on_another_mount(c):
    top = c.mnt(1, "project")
    os.mkdir(top)
    names = ["m%d" % i for i in range(24)]
    for i, name in enumerate(names):
        with open(os.path.join(top, name + ".c"), "w") as f:
            f.write('#include "all.h"\nint %s(void) { return %d; }\n' % (name, i))
    with open(os.path.join(top, "all.h"), "w") as f:
        f.write("".join("int %s(void);\n" % name for name in names))
    with open(os.path.join(top, "main.c"), "w") as f:
        f.write('#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", %s); }\n' %
                " + ".join(name + "()" for name in names))
    with open(os.path.join(top, "Makefile"), "w") as f:
        f.write("OBJECTS = %s\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n$(OBJECTS): all.h\n" %
                " ".join(name + ".o" for name in names + ["main"]))
    run("make", "-s", "-j2", cwd=top, timeout=90)
    for k in (1, 2, 3):
        check(run(c.mnt(k, "project", "program")).output == "276\n", "the program on n%d" % k)
        check("up to date" in run("make", cwd=c.mnt(k, "project")).output,
              "make on n%d wants to build again: times differ" % k)


@test(shared=True)
def sqlite_written_on_one_mount_is_read_on_another(c):
    db = sqlite3.connect(c.mnt(1, "db"))
    db.execute("create table t (k integer primary key, v text)")
    for batch in range(20):
        with db:
            db.executemany("insert into t values (?, ?)",
                           [(batch * 50 + i, "v%d" % (batch * 50 + i)) for i in range(50)])
    db.close()
    for k in (2, 3):
        other = sqlite3.connect(c.mnt(k, "db"))
        check(other.execute("pragma integrity_check").fetchone() == ("ok",), "integrity on n%d" % k)
        rows = other.execute("select k, v from t order by k").fetchall()
        check(rows == [(i, "v%d" % i) for i in range(1000)], "%d rows on n%d" % (len(rows), k))
        other.close()
    for k in (2, 3):
        other = sqlite3.connect(c.mnt(k, "db"))
        with other:
            other.execute("update t set v = 'n%d' where k = %d" % (k, k))
        other.close()
    db = sqlite3.connect(c.mnt(1, "db"))
    check(db.execute("select v from t where k in (2, 3)").fetchall() == [("n2",), ("n3",)],
          "updates from other mounts")
    db.close()


@test(shared=True)
def an_editors_save_by_rename_is_seen_whole_by_a_reader_elsewhere(c):
    """A reader finds the old text or the new, never a part, and never no file."""
    texts = [("%d\n" % i) * 5000 for i in range(60)]
    name, reader = c.mnt(1, "edited"), c.mnt(2, "edited")
    with open(name, "w") as f:
        f.write(texts[0])
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            seen = set()
            while len(texts) - 1 not in seen:
                text = open(reader).read()
                number = int(text.split("\n", 1)[0])
                if text != texts[number]:
                    print("reader: a torn text, number %d" % number)
                    code = 1
                    break
                seen.add(number)
        except BaseException as e:
            print("reader:", repr(e))
            code = 1
        sys.stdout.flush()
        os._exit(code)
    for text in texts[1:]:
        with open(name + ".new", "w") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.rename(name + ".new", name)
    check(os.waitpid(pid, 0)[1] == 0, "the reader failed")


@test(shared=True, limit=600)
def a_large_file_has_its_checksum_on_every_mount(c):
    size = (1024 if harness.LONG else 256) << 20
    source, piece, whole = scratch(c, "large"), 4 << 20, hashlib.sha256()
    with open(source, "wb") as f:
        for i in range(size // piece):
            data = random.Random(i).randbytes(piece)
            whole.update(data)
            f.write(data)
    began = now()
    run("cp", source, c.mnt(1, "large"), timeout=300)
    wrote = now() - began
    began = now()
    for k in (1, 2, 3):
        found = run("sha256sum", c.mnt(k, "large"), timeout=300).output.split()[0]
        check(found == whole.hexdigest(), "the checksum on n%d differs" % k)
    note("%d MiB: written at %.0f MiB/s, read at %.0f MiB/s" %
         (size >> 20, (size >> 20) / wrote, 3 * (size >> 20) / (now() - began)))
    os.unlink(source)
    os.unlink(c.mnt(2, "large"))


@test(shared=True)
def an_unlinked_file_stays_readable_where_it_is_open(c):
    with open(c.mnt(1, "gone"), "wb") as f:
        f.write(b"still here" * 1000)
    with open(c.mnt(2, "gone"), "rb") as held:
        os.unlink(c.mnt(3, "gone"))
        check(not os.path.exists(c.mnt(1, "gone")), "its name is still there")
        check(held.read() == b"still here" * 1000, "its data went with its name")
        check(os.fstat(held.fileno()).st_nlink == 0, "it has links")


@test(shared=True)
def sparse_files_xattrs_and_special_files_are_the_same_everywhere(c):
    with open(c.mnt(1, "sparse"), "wb") as f:
        f.truncate(1 << 30)
        f.seek(700 << 20)
        f.write(b"island")
    os.setxattr(c.mnt(1, "sparse"), "user.colour", b"green\0")
    os.mkfifo(c.mnt(1, "fifo"))
    os.symlink("x" * 4000, c.mnt(1, "long-link"))
    os.link(c.mnt(1, "sparse"), c.mnt(1, "sparse2"))
    for k in (2, 3):
        st = os.stat(c.mnt(k, "sparse"))
        check(st.st_size == 1 << 30 and st.st_blocks * 512 < 1 << 20 and st.st_nlink == 2,
              "sparse on n%d: %s" % (k, st))
        with open(c.mnt(k, "sparse2"), "rb") as f:
            f.seek((700 << 20) - 2)
            check(f.read(10) == b"\0\0island\0\0", "its data on n%d" % k)
        check(os.getxattr(c.mnt(k, "sparse"), "user.colour") == b"green\0", "xattr on n%d" % k)
        check(os.listxattr(c.mnt(k, "sparse")) == ["user.colour"], "list of xattrs on n%d" % k)
        check(os.readlink(c.mnt(k, "long-link")) == "x" * 4000, "symlink on n%d" % k)
    os.removexattr(c.mnt(2, "sparse2"), "user.colour")
    check(os.listxattr(c.mnt(3, "sparse")) == [], "a removed xattr is there")

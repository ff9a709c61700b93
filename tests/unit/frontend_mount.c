/* The frontend on a real mount (root and /dev/fuse are needed), with a store but without consensus.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "fs/frontend_call.h"
#include "tests/support/local_backend.h"

/* libfuse keeps an INTERRUPT that came after the answer, and forgets it at the end of the session;
 * Criterion leaks in its own process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfuse3.so\nleak:libcriterion.so\n";
}

/* The tests of ordinary operations run in all ways of reading. */
static const struct local_backend_config at_once = {0};
static const struct local_backend_config after_read_index = {.reads_wait = true};
static const struct local_backend_config tried_in_vain = {.reads_touched = true};

static struct local_backend *start_in(const struct local_backend_config *config)
{
    struct local_backend *b = local_backend_start(config);
    cr_assert_eq(chdir(local_backend_mountpoint(b)), 0);
    return b;
}

static void stop(struct local_backend *b)
{
    cr_assert_eq(chdir("/"), 0);
    local_backend_stop(b);
}

static void write_whole(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(close(fd), 0);
}

static void expect_whole(const char *path, const char *text)
{
    char bytes[256] = {0};
    int fd = open(path, O_RDONLY);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    ssize_t size = read(fd, bytes, sizeof(bytes) - 1);
    cr_expect_eq(size, (ssize_t)strlen(text), "%s: %zd bytes", path, size);
    cr_expect_str_eq(bytes, text);
    close(fd);
}

static uint64_t ino_of(const char *path)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
    return st.st_ino;
}

static void foreign(struct local_backend *b, struct fs_command command)
{
    struct fs_outcome outcome = local_backend_apply(b, &command);
    cr_assert_eq(outcome.error, 0, "%s: %s", fs_op_name(command.op), strerror(outcome.error));
}

static void foreign_write(struct local_backend *b, uint64_t ino, uint64_t offset, const char *text)
{
    foreign(b, (struct fs_command){.op = FS_WRITE,
                                   .ino = ino,
                                   .offset = offset,
                                   .data = text,
                                   .data_size = (uint32_t)strlen(text)});
}

static void foreign_unlink(struct local_backend *b, const char *name)
{
    foreign(b, (struct fs_command){.op = FS_UNLINK,
                                   .parent = FS_ROOT_INO,
                                   .name = name,
                                   .name_size = (uint32_t)strlen(name)});
}

#define expect_errno(error, call)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        cr_expect_lt((long)(call), 0, "%s", #call);                                                \
        cr_expect_eq(errno, (error), "%s: %s", #call, strerror(errno));                            \
    } while (0)

/* ---- ordinary operations ---- */

static void do_files(void)
{
    struct stat st;
    write_whole("a", "hello");
    expect_whole("a", "hello");
    cr_expect_eq(stat("a", &st), 0);
    cr_expect_eq(st.st_size, 5);
    cr_expect_eq(st.st_mode, S_IFREG | 0644);
    cr_expect_eq(truncate("a", 2), 0);
    expect_whole("a", "he");
    cr_expect_eq(truncate("a", 4), 0);
    cr_expect_eq(stat("a", &st), 0);
    cr_expect_eq(st.st_size, 4);
    write_whole("a", "");
    expect_whole("a", "");
    expect_errno(ENOENT, open("b", O_RDONLY));
    expect_errno(EEXIST, open("a", O_CREAT | O_EXCL | O_RDONLY, 0644));
    cr_expect_eq(unlink("a"), 0);
    expect_errno(ENOENT, stat("a", &st));
    expect_errno(ENOENT, unlink("a"));
}

static void do_large_file(void)
{
    enum { SIZE = 5 * 1000 * 1000 };
    char *bytes = malloc(SIZE), *back = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (char)(((unsigned)i * 2654435761u) >> 16);
    int fd = open("large", O_CREAT | O_RDWR, 0600);
    cr_assert_geq(fd, 0);
    cr_expect_eq(pwrite(fd, bytes, SIZE, 0), SIZE);
    cr_expect_eq(pwrite(fd, "xyz", 3, 1000001), 3);
    memcpy(bytes + 1000001, "xyz", 3);
    cr_expect_eq(pread(fd, back, SIZE, 0), SIZE);
    cr_expect_eq(memcmp(bytes, back, SIZE), 0);
    cr_expect_eq(pread(fd, back, 10, SIZE - 3), 3);
    cr_expect_eq(pread(fd, back, 10, SIZE), 0);
    cr_expect_eq(fsync(fd), 0);
    close(fd);
    cr_expect_eq(unlink("large"), 0);
    free(bytes);
    free(back);
}

static void do_appends(void)
{
    int one = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
    int two = open("log", O_WRONLY | O_APPEND);
    cr_expect_eq(write(one, "1", 1), 1);
    cr_expect_eq(write(two, "2", 1), 1);
    cr_expect_eq(write(one, "3", 1), 1);
    close(one);
    close(two);
    expect_whole("log", "123");
    cr_expect_eq(unlink("log"), 0);
}

static int rename_with(const char *from, const char *to, unsigned flags)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void do_names(void)
{
    char target[64] = {0};
    struct stat st;
    char too_long[FILE_NAME_MAX + 2];
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';

    cr_expect_eq(mkdir("d", 0750), 0);
    expect_errno(EEXIST, mkdir("d", 0750));
    write_whole("d/one", "one");
    write_whole("two", "two");
    cr_expect_eq(rename("d/one", "three"), 0);
    expect_whole("three", "one");
    expect_errno(EEXIST, rename_with("two", "three", RENAME_NOREPLACE));
    cr_expect_eq(rename_with("two", "three", RENAME_EXCHANGE), 0);
    expect_whole("three", "two");
    expect_errno(EINVAL, rename_with("two", "three", RENAME_WHITEOUT));
    cr_expect_eq(rename("two", "three"), 0);
    expect_whole("three", "one");
    cr_expect_eq(link("three", "d/four"), 0);
    cr_expect_eq(stat("three", &st), 0);
    cr_expect_eq(st.st_nlink, 2);
    cr_expect_eq(symlink("d/four", "link"), 0);
    cr_expect_eq(readlink("link", target, sizeof(target)), 6);
    cr_expect_str_eq(target, "d/four");
    expect_whole("link", "one");
    expect_errno(ENOTEMPTY, rmdir("d"));
    expect_errno(ENAMETOOLONG, mkdir(too_long, 0700));
    expect_errno(ENAMETOOLONG, stat(too_long, &st));
    cr_expect_eq(mkfifo("fifo", 0600), 0);
    cr_expect_eq(stat("fifo", &st), 0);
    cr_expect(S_ISFIFO(st.st_mode));
    cr_expect_eq(mknod("device", S_IFCHR | 0600, makedev(1, 3)), 0);
    cr_expect_eq(stat("device", &st), 0);
    cr_expect_eq(st.st_rdev, makedev(1, 3));
    cr_expect_eq(unlink("d/four") | unlink("three") | unlink("link") | unlink("fifo") |
                     unlink("device") | rmdir("d"),
                 0);
}

static void do_attributes(void)
{
    struct stat st;
    const struct timespec times[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789},
                                      {.tv_sec = -5, .tv_nsec = 999999999}};
    write_whole("a", "x");
    cr_expect_eq(chmod("a", 0501), 0);
    cr_expect_eq(chown("a", 7, 8), 0);
    cr_expect_eq(utimensat(AT_FDCWD, "a", times, 0), 0);
    cr_expect_eq(stat("a", &st), 0);
    cr_expect_eq(st.st_mode, S_IFREG | 0501);
    cr_expect_eq(st.st_uid, 7);
    cr_expect_eq(st.st_gid, 8);
    cr_expect_eq(st.st_atim.tv_sec, 1000000000);
    cr_expect_eq(st.st_atim.tv_nsec, 123456789);
    cr_expect_eq(st.st_mtim.tv_sec, -5);
    cr_expect_eq(st.st_mtim.tv_nsec, 999999999);
    uint64_t before = clock_wall_ns() / NS_PER_S;
    cr_expect_eq(utimensat(AT_FDCWD, "a", NULL, 0), 0);
    cr_expect_eq(stat("a", &st), 0);
    cr_expect_geq((uint64_t)st.st_mtim.tv_sec, before);
    cr_expect_eq(unlink("a"), 0);
}

static void do_xattrs(void)
{
    /* Version 2; owner, group, others: no id. */
    static const unsigned char acl[] = {2,   0,   0, 0, 1,   0,   7,   0,   255, 255,
                                        255, 255, 4, 0, 4,   0,   255, 255, 255, 255,
                                        32,  0,   4, 0, 255, 255, 255, 255};
    char value[64], list[256];
    write_whole("a", "");
    cr_expect_eq(setxattr("a", "user.one", "1", 1, XATTR_CREATE), 0);
    expect_errno(EEXIST, setxattr("a", "user.one", "1", 1, XATTR_CREATE));
    expect_errno(ENODATA, setxattr("a", "user.two", "1", 1, XATTR_REPLACE));
    cr_expect_eq(setxattr("a", "user.empty", "", 0, 0), 0);
    cr_expect_eq(getxattr("a", "user.one", NULL, 0), 1);
    cr_expect_eq(getxattr("a", "user.one", value, sizeof(value)), 1);
    cr_expect_eq(value[0], '1');
    cr_expect_eq(getxattr("a", "user.empty", value, sizeof(value)), 0);
    expect_errno(ENODATA, getxattr("a", "user.none", value, sizeof(value)));
    cr_expect_eq(setxattr("a", "user.one", "longer", 6, 0), 0);
    expect_errno(ERANGE, getxattr("a", "user.one", value, 3));
    cr_expect_eq(listxattr("a", NULL, 0), 9 + 11);
    cr_expect_eq(listxattr("a", list, sizeof(list)), 9 + 11);
    expect_errno(ERANGE, listxattr("a", list, 5));
    cr_expect_eq(removexattr("a", "user.one"), 0);
    expect_errno(ENODATA, removexattr("a", "user.one"));
    expect_errno(EOPNOTSUPP, setxattr("a", "system.posix_acl_access", acl, sizeof(acl), 0));
    expect_errno(EOPNOTSUPP, getxattr("a", "system.posix_acl_access", value, sizeof(value)));
    cr_expect_eq(unlink("a"), 0);
}

static void do_holes(void)
{
    struct stat st;
    int fd = open("sparse", O_CREAT | O_RDWR, 0600);
    cr_expect_eq(pwrite(fd, "end", 3, 10 << 20), 3);
    cr_expect_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_size, (10 << 20) + 3);
    cr_expect_lt(st.st_blocks, 4096);
    cr_expect_eq(lseek(fd, 0, SEEK_HOLE), 0);
    off_t data = lseek(fd, 0, SEEK_DATA);
    cr_expect(data > 0 && data <= 10 << 20);
    cr_expect_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 << 20, 3), 0);
    char bytes[3] = "xxx";
    cr_expect_eq(pread(fd, bytes, 3, 10 << 20), 3);
    cr_expect_eq(memcmp(bytes, "\0\0\0", 3), 0);
    expect_errno(EOPNOTSUPP, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    close(fd);
    cr_expect_eq(unlink("sparse"), 0);
}

static void do_statfs(void)
{
    struct statvfs st;
    cr_expect_eq(statvfs(".", &st), 0);
    cr_expect_eq(st.f_namemax, FILE_NAME_MAX);
    cr_expect_gt(st.f_blocks, 0);
    cr_expect_leq(st.f_bavail, st.f_blocks);
}

static void do_everything(const struct local_backend_config *config)
{
    struct local_backend *b = start_in(config);
    do_files();
    do_large_file();
    do_appends();
    do_names();
    do_attributes();
    do_xattrs();
    do_holes();
    do_statfs();
    stop(b);
}

Test(frontend_mount, serves_ordinary_operations_at_once, .timeout = 60)
{
    do_everything(&at_once);
}

Test(frontend_mount, serves_ordinary_operations_after_a_read_index, .timeout = 60)
{
    do_everything(&after_read_index);
}

Test(frontend_mount, serves_ordinary_operations_when_each_read_turns_out_to_have_to_wait,
     .timeout = 60)
{
    do_everything(&tried_in_vain);
}

enum { MANY = 3000 };

/* Lists ".", removing what it finds if asked to; returns the entries that are not dots. */
static int list(bool seen[MANY], bool remove)
{
    DIR *d = opendir(".");
    struct dirent *e;
    int count = 0;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        int i = atoi(e->d_name);
        cr_assert(i >= 0 && i < MANY);
        cr_assert(!seen[i], "%d twice", i);
        seen[i] = true;
        count++;
        if (remove)
            cr_assert_eq(unlink(e->d_name), 0);
    }
    closedir(d);
    return count;
}

static void do_directory_of_thousands(const struct local_backend_config *config)
{
    struct local_backend *b = start_in(config);
    static bool seen[MANY], seen_again[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        write_whole(name, "");
    }
    cr_expect_eq(list(seen, false), MANY);
    cr_expect_eq(list(seen_again, true), MANY);
    stop(b);
}

Test(frontend_mount, lists_each_of_thousands_once_also_while_removing_them, .timeout = 60)
{
    do_directory_of_thousands(&at_once);
}

Test(frontend_mount, lists_each_of_thousands_once_after_a_read_index, .timeout = 60)
{
    do_directory_of_thousands(&after_read_index);
}

Test(frontend_mount, lists_each_of_thousands_once_when_each_read_turns_out_to_have_to_wait,
     .timeout = 60)
{
    do_directory_of_thousands(&tried_in_vain);
}

/* ---- reads that are judged before they are answered ---- */

Test(frontend_mount, a_read_takes_a_new_snapshot_a_few_times_and_then_waits, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    struct stat st;
    write_whole("a", "x");
    int fd = open("a", O_RDONLY);
    local_backend_judge(b, PENDING_RENEW, 2);
    cr_expect_eq(fstat(fd, &st), 0);
    cr_expect_eq(local_backend_verdicts_left(b), 0);
    local_backend_judge(b, PENDING_RENEW, 100);
    cr_expect_eq(fstat(fd, &st), 0);
    cr_expect_eq(local_backend_verdicts_left(b), 97);
    cr_expect_eq(st.st_size, 1);
    local_backend_judge(b, PENDING_TOUCHED, 100);
    cr_expect_eq(fstat(fd, &st), 0);
    cr_expect_eq(local_backend_verdicts_left(b), 99);
    close(fd);
    stop(b);
}

/* What the kernel is not given is not counted: or the store would keep the orphans for ever. */
Test(frontend_mount, an_answer_that_is_not_given_holds_no_inode, .timeout = 60)
{
    static const char *const names[] = {"one", "two", "three"};
    static const enum pending_verdict verdicts[] = {PENDING_RENEW, PENDING_TOUCHED};
    struct local_backend *b = start_in(&at_once);
    for (size_t v = 0; v < ARRAY_COUNT(verdicts); v++) {
        for (size_t i = 0; i < ARRAY_COUNT(names); i++)
            foreign(b, (struct fs_command){.op = FS_CREATE,
                                           .parent = FS_ROOT_INO,
                                           .name = names[i],
                                           .name_size = (uint32_t)strlen(names[i]),
                                           .mode = 0644});
        local_backend_judge(b, verdicts[v], UINT32_MAX);
        DIR *d = opendir(".");
        struct dirent *e;
        uint32_t count = 0;
        while ((e = readdir(d)))
            count += e->d_name[0] != '.';
        cr_expect_eq(count, ARRAY_COUNT(names));
        closedir(d);
        cr_expect_gt(ino_of("one"), 0);
        local_backend_judge(b, PENDING_CLEAR, 0);
        struct frontend_view view;
        frontend_view(local_backend_frontend(b), &view);
        cr_expect_eq(view.inodes_known, ARRAY_COUNT(names));
        for (size_t i = 0; i < ARRAY_COUNT(names); i++)
            foreign_unlink(b, names[i]);
        local_backend_settle(b);
    }
    stop(b);
}

#define expect_looked_at(call, ino0, ino1, in_parent, size, children)                              \
    do {                                                                                           \
        (void)!(call);                                                                             \
        struct read_set set = local_backend_looked_at(b);                                          \
        cr_expect_eq(set.inos[0], (ino0), "%s: %lu", #call, set.inos[0]);                          \
        cr_expect_eq(set.inos[1], (ino1), "%s: %lu", #call, set.inos[1]);                          \
        cr_expect_eq(set.parent, (in_parent), "%s: %lu", #call, set.parent);                       \
        cr_expect_eq(set.name_size, (size), "%s: %zu", #call, set.name_size);                      \
        cr_expect_eq(set.child_count, (children), "%s: %zu", #call, set.child_count);              \
    } while (0)

static void list_directory(int fd)
{
    char bytes[4096];
    lseek(fd, 0, SEEK_SET);
    cr_expect_gt(getdents64(fd, bytes, sizeof(bytes)), 0);
}

Test(frontend_mount, each_read_says_what_it_looked_at, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[64];
    struct stat st;
    struct statvfs fs;
    write_whole("a", "text");
    cr_expect_eq(symlink("a", "link"), 0);
    uint64_t a = ino_of("a"), link = ino_of("link");
    int fd = open("a", O_RDWR), dir = open(".", O_RDONLY | O_DIRECTORY);
    expect_looked_at(fstat(fd, &st), a, 0, 0, 0, 0);
    expect_looked_at(stat("none", &st), 0, 0, FS_ROOT_INO, 4, 0);
    expect_looked_at(close(open("a", O_PATH)), a, 0, FS_ROOT_INO, 1, 0);
    expect_looked_at(readlink("link", bytes, sizeof(bytes)), link, 0, 0, 0, 0);
    expect_looked_at(fgetxattr(fd, "user.x", bytes, sizeof(bytes)), a, 0, 0, 0, 0);
    expect_looked_at(flistxattr(fd, bytes, sizeof(bytes)), a, 0, 0, 0, 0);
    expect_looked_at(lseek(fd, 0, SEEK_HOLE), a, 0, 0, 0, 0);
    expect_looked_at(pread(fd, bytes, 4, 0), a, 0, 0, 0, 0);
    expect_looked_at(statvfs(".", &fs), 0, 0, 0, 0, 0);
    expect_looked_at((list_directory(dir), 0), FS_ROOT_INO, 0, 0, 0, 2);
    close(fd);
    close(dir);
    stop(b);
}

Test(frontend_mount, refuses_every_change_when_read_only_until_remounted, .timeout = 60)
{
    struct local_backend *b = start_in(&(struct local_backend_config){.read_only = true});
    expect_errno(EROFS, mkdir("a", 0700));
    expect_errno(EROFS, open("a", O_CREAT | O_WRONLY, 0600));
    expect_errno(EROFS, chmod(".", 0700));
    cr_expect_eq(mount(NULL, local_backend_mountpoint(b), NULL, MS_REMOUNT, NULL), 0);
    cr_expect_eq(mkdir("a", 0700), 0, "%s", strerror(errno));
    stop(b);
}

/* ---- who may know ---- */

static int list_size_as(struct local_backend *b, uid_t uid)
{
    pid_t process = local_backend_fork(b);
    if (process == 0) {
        char names[64];
        if (setuid(uid) < 0)
            _exit(255);
        ssize_t room = listxattr("a", NULL, 0), size = listxattr("a", names, sizeof(names));
        _exit(room == size ? (int)size : 254);
    }
    int status;
    waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 253;
}

Test(frontend_mount, only_root_sees_the_names_of_trusted_attributes, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("a", "");
    cr_expect_eq(setxattr("a", "trusted.one", "1", 1, 0), 0);
    cr_expect_eq(list_size_as(b, 0), 12);
    cr_expect_eq(list_size_as(b, 1000), 0);
    cr_expect_eq(setxattr("a", "user.one", "1", 1, 0), 0);
    cr_expect_eq(setxattr("a", "user.two", "1", 1, 0), 0);
    cr_expect_eq(list_size_as(b, 0), 12 + 18);
    cr_expect_eq(list_size_as(b, 1000), 18);
    stop(b);
}

/* ---- unlinked but open ---- */

Test(frontend_mount, an_unlinked_file_stays_readable_until_closed_and_is_then_freed, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[8] = {0};
    write_whole("a", "kept");
    int fd = open("a", O_RDWR);
    cr_expect_eq(unlink("a"), 0);
    for (int i = 0; i < 10; i++)
        frontend_tick(local_backend_frontend(b), clock_now_ns());
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 4);
    cr_expect_str_eq(bytes, "kept");
    cr_expect_eq(pwrite(fd, "new", 3, 0), 3);
    close(fd);
    local_backend_settle(b);
    stop(b);
}

Test(frontend_mount, a_file_that_another_host_unlinks_stays_readable_until_closed, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[8] = {0};
    struct stat st;
    write_whole("a", "kept");
    int fd = open("a", O_RDONLY);
    foreign_unlink(b, "a");
    expect_errno(ENOENT, stat("a", &st));
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 4);
    cr_expect_str_eq(bytes, "kept");
    close(fd);
    local_backend_settle(b);
    stop(b);
}

/* Nobody here looks the name up again: only a notice makes the kernel forget. */
Test(frontend_mount, the_kernel_forgets_what_another_host_unlinked, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("a", "x");
    expect_whole("a", "x");
    foreign_unlink(b, "a");
    local_backend_settle(b);
    stop(b);
}

/* ---- other hosts' changes ---- */

Test(frontend_mount, an_open_descriptor_sees_what_another_host_wrote, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[8] = {0};
    write_whole("a", "old");
    int fd = open("a", O_RDONLY);
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    foreign_write(b, ino_of("a"), 0, "new");
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    cr_expect_str_eq(bytes, "new");
    close(fd);
    stop(b);
}

/* The answer to chmod carries the mtime of the other host's write. */
Test(frontend_mount, a_chmod_does_not_hide_what_another_host_wrote_before, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[8] = {0};
    write_whole("a", "old");
    int fd = open("a", O_RDONLY);
    uint64_t ino = ino_of("a");
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    foreign_write(b, ino, 0, "new");
    cr_expect_eq(fchmod(fd, 0600), 0);
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    cr_expect_str_eq(bytes, "new");
    close(fd);
    stop(b);
}

/* One notice at a time: when the queue is empty again, those before the last one have been sent. */
static void wait_for_notice_in_flight(struct local_backend *b)
{
    foreign(b, (struct fs_command){.op = FS_CREATE,
                                   .parent = FS_ROOT_INO,
                                   .name = "barrier",
                                   .name_size = 7,
                                   .mode = S_IFREG | 0600});
    ino_of("barrier"); /* held: else there is no notice */
    foreign_unlink(b, "barrier");
    local_backend_wait_notified(b);
}

static struct timespec mtime_of(const char *path)
{
    struct stat st;
    cr_assert_eq(lstat(path, &st), 0);
    return st.st_mtim;
}

/* As rsync -t and tar do it, there. The kernel here compares size and mtime. */
Test(frontend_mount, an_old_mtime_restored_does_not_hide_what_another_host_wrote, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    char bytes[8] = {0};
    write_whole("a", "old");
    int fd = open("a", O_RDONLY);
    uint64_t ino = ino_of("a");
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    struct timespec before = mtime_of("a");
    foreign_write(b, ino, 0, "new");
    foreign(b, (struct fs_command){.op = FS_SETATTR,
                                   .ino = ino,
                                   .set = FS_SET_MTIME,
                                   .mtime_ns = (uint64_t)before.tv_sec * NS_PER_S +
                                               (uint64_t)before.tv_nsec});
    local_backend_wait_notified(b);
    wait_for_notice_in_flight(b);
    cr_expect_eq(mtime_of("a").tv_nsec, before.tv_nsec);
    cr_expect_eq(pread(fd, bytes, sizeof(bytes), 0), 3);
    cr_expect_str_eq(bytes, "new");
    close(fd);
    stop(b);
}

/* ---- calls that wait ---- */

enum waiting_kind { WAIT_MKDIR, WAIT_STAT, WAIT_WRITE, WAIT_GETXATTR, WAIT_CREATE_AS_USER };

/* A call made by a process of its own, which exits with the errno. */
struct waiter {
    enum waiting_kind kind;
    const char *name;
    int fd;
    pid_t process;
};

static void on_signal(int number)
{
    (void)number;
}

static int wait_for_answer(const struct waiter *w)
{
    struct stat st;
    long rc = 0;
    switch (w->kind) {
    case WAIT_MKDIR:
        rc = mkdir(w->name, 0700);
        break;
    case WAIT_STAT:
        rc = stat(w->name, &st);
        break;
    case WAIT_WRITE:
        rc = write(w->fd, "x", 1);
        break;
    case WAIT_GETXATTR:
        rc = fgetxattr(w->fd, w->name, &st, sizeof(st));
        break;
    case WAIT_CREATE_AS_USER:
        if (setgid(1000) == 0 && setuid(1000) == 0)
            rc = open(w->name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
        break;
    }
    return rc < 0 ? errno : 0;
}

static void waiter_start(struct local_backend *b, struct waiter *w)
{
    w->process = local_backend_fork(b);
    if (w->process > 0)
        return;
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL); /* no SA_RESTART */
    _exit(wait_for_answer(w));
}

/* The errno; 255: ended by a signal. */
static int waiter_join(struct waiter *w)
{
    int status;
    waitpid(w->process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void start_waiting(struct local_backend *b, struct waiter *w)
{
    local_backend_hold(b, true);
    waiter_start(b, w);
    local_backend_wait_held(b, 1);
}

static uint32_t waiting_in(struct local_backend *b)
{
    struct frontend_view view;
    frontend_view(local_backend_frontend(b), &view);
    return view.waiting;
}

/* By a signal with a handler, and the INTERRUPT for it has come. */
static void interrupt(struct local_backend *b, const struct waiter *w)
{
    struct frontend_view view;
    kill(w->process, SIGUSR1);
    do {
        sched_yield();
        frontend_view(local_backend_frontend(b), &view);
    } while (view.interrupted == 0);
}

static void tick(struct local_backend *b, uint64_t later_ns)
{
    frontend_tick(local_backend_frontend(b), clock_now_ns() + later_ns);
}

/* Timers and children's ends, in git for one: on a local disk no such call ever fails with EINTR,
 * and who repeats the write has written twice. */
static void do_survive_signal(const struct local_backend_config *config, struct waiter w, int error)
{
    struct local_backend *b = start_in(config);
    start_waiting(b, &w);
    interrupt(b, &w);
    tick(b, 0);
    cr_expect_eq(waiting_in(b), 1);
    local_backend_hold(b, false);
    cr_expect_eq(waiter_join(&w), error);
    stop(b);
}

Test(frontend_mount, a_signal_with_a_handler_does_not_fail_a_change, .timeout = 60)
{
    do_survive_signal(&at_once, (struct waiter){.kind = WAIT_MKDIR, .name = "a"}, 0);
}

Test(frontend_mount, a_signal_with_a_handler_does_not_fail_a_read, .timeout = 60)
{
    do_survive_signal(&after_read_index, (struct waiter){.kind = WAIT_STAT, .name = "a"}, ENOENT);
}

/* Without a quorum, the handler of an interactive program for Ctrl-C gets its turn. */
static void do_interrupt_late(const struct local_backend_config *config, struct waiter w)
{
    struct local_backend *b = start_in(config);
    start_waiting(b, &w);
    interrupt(b, &w);
    tick(b, INTERRUPT_PATIENCE_NS);
    cr_expect_eq(waiter_join(&w), EINTR);
    local_backend_wait_cancelled(b, 1);
    local_backend_hold(b, false);
    stop(b);
}

Test(frontend_mount, a_change_that_waits_long_ends_with_eintr_by_any_signal, .timeout = 60)
{
    do_interrupt_late(&at_once, (struct waiter){.kind = WAIT_MKDIR, .name = "a"});
}

Test(frontend_mount, a_read_that_waits_long_ends_with_eintr_by_any_signal, .timeout = 60)
{
    do_interrupt_late(&after_read_index, (struct waiter){.kind = WAIT_STAT, .name = "a"});
}

/* No tick: at once. */
static void do_die(const struct local_backend_config *config, struct waiter w, int number)
{
    struct local_backend *b = start_in(config);
    start_waiting(b, &w);
    kill(w.process, number);
    cr_expect_eq(waiter_join(&w), 255, "signal %d", number);
    local_backend_wait_cancelled(b, 1);
    local_backend_hold(b, false);
    stop(b);
}

Test(frontend_mount, ctrl_c_ends_a_program_without_a_handler_at_once, .timeout = 60)
{
    do_die(&at_once, (struct waiter){.kind = WAIT_MKDIR, .name = "a"}, SIGINT);
}

Test(frontend_mount, ctrl_c_ends_a_program_that_reads_at_once, .timeout = 60)
{
    do_die(&after_read_index, (struct waiter){.kind = WAIT_STAT, .name = "a"}, SIGINT);
}

/* Its core comes first: the kernel keeps the signal as it is. */
Test(frontend_mount, a_signal_that_leaves_a_core_ends_a_program_at_once, .timeout = 60)
{
    do_die(&at_once, (struct waiter){.kind = WAIT_MKDIR, .name = "a"}, SIGQUIT);
}

Test(frontend_mount, kill_ends_a_program_at_once, .timeout = 60)
{
    do_die(&at_once, (struct waiter){.kind = WAIT_MKDIR, .name = "a"}, SIGKILL);
}

/* The kernel sends INTERRUPT for the first signal alone. */
Test(frontend_mount, a_program_killed_after_a_harmless_signal_ends_with_the_next_tick,
     .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    struct waiter w = {.kind = WAIT_MKDIR, .name = "a"};
    start_waiting(b, &w);
    interrupt(b, &w);
    kill(w.process, SIGTERM);
    tick(b, 0);
    cr_expect_eq(waiter_join(&w), 255);
    local_backend_hold(b, false);
    stop(b);
}

/* No permission of the VFS's own is looked up on the way to it. */
Test(frontend_mount, a_security_attribute_is_read_after_a_read_index_like_any, .timeout = 60)
{
    struct local_backend *b = start_in(&after_read_index);
    write_whole("a", "");
    int fd = open("a", O_RDONLY);
    struct waiter w = {.kind = WAIT_GETXATTR, .name = "security.x", .fd = fd};
    start_waiting(b, &w);
    local_backend_hold(b, false);
    cr_expect_eq(waiter_join(&w), ENODATA);
    close(fd);
    stop(b);
}

Test(frontend_mount, calls_that_waited_longer_than_timeo_fail_with_eio, .timeout = 60)
{
    struct local_backend *b =
        start_in(&(struct local_backend_config){.timeo_ns = 10 * NS_PER_S, .reads_wait = true});
    struct waiter w = {.kind = WAIT_MKDIR, .name = "a"};
    struct frontend_view view;
    struct stat st;
    expect_errno(ENOENT, stat("a", &st));
    local_backend_hold(b, true);
    waiter_start(b, &w);
    local_backend_wait_held(b, 1);
    frontend_tick(local_backend_frontend(b), clock_now_ns() + 9 * NS_PER_S);
    frontend_view(local_backend_frontend(b), &view);
    cr_expect_eq(view.waiting, 1);
    frontend_tick(local_backend_frontend(b), clock_now_ns() + 10 * NS_PER_S);
    cr_expect_eq(waiter_join(&w), EIO);
    frontend_view(local_backend_frontend(b), &view);
    cr_expect_eq(view.waiting, 0);
    local_backend_hold(b, false);
    stop(b);
}

Test(frontend_mount, stop_answers_what_waits_with_eio, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    int fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0600);
    struct waiter dir = {.kind = WAIT_MKDIR, .name = "a"};
    struct waiter file = {.kind = WAIT_WRITE, .fd = fd};
    local_backend_hold(b, true);
    waiter_start(b, &dir);
    waiter_start(b, &file);
    local_backend_wait_held(b, 2);
    stop(b);
    cr_expect_eq(waiter_join(&dir), EIO);
    cr_expect_eq(waiter_join(&file), EIO);
    close(fd);
}

/* 1. A mkdir waits here, and with it the lock of its directory.  2. Another host unlinks a name in
 * it: the notice waits for that lock, inside the kernel. */
Test(frontend_mount, a_notice_that_the_kernel_holds_up_holds_up_nobody_nor_the_end, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    struct waiter w = {.kind = WAIT_MKDIR, .name = "b"};
    struct stat st;
    write_whole("a", "kept");
    int fd = open("a", O_RDONLY);
    start_waiting(b, &w);
    foreign_unlink(b, "a");
    local_backend_wait_notified(b);
    cr_expect_eq(fstat(fd, &st), 0);
    close(fd);
    stop(b);
    cr_expect_eq(waiter_join(&w), EIO);
}

Test(frontend_mount, umount_is_told_to_the_node, .timeout = 60)
{
    struct local_backend *b = local_backend_start(&at_once);
    cr_expect_eq(umount(local_backend_mountpoint(b)), 0);
    local_backend_wait_unmounted(b);
    local_backend_stop(b);
}

/* ---- mounted, and mounted again ---- */

static int device_count(void)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    int count = 0;
    while ((e = readdir(d))) {
        char target[64] = {0};
        ssize_t size = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        count += size > 0 && strcmp(target, "/dev/fuse") == 0;
    }
    closedir(d);
    return count;
}

Test(frontend_mount, a_frontend_that_does_not_start_closes_the_device, .timeout = 60)
{
    struct local_backend *b = local_backend_start(&at_once);
    int before = device_count();
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    struct frontend_config config = local_backend_frontend_config(b, fd);
    struct frontend *f;
    config.mountpoint = "/nowhere";
    cr_expect_eq(frontend_start(&config, &f), -ENOENT);
    cr_expect_eq(device_count(), before);
    local_backend_stop(b);
}

/* The next mount has the number of the one before, unless a test beside this one was faster. */
Test(frontend_mount, the_end_of_an_unmounted_frontend_leaves_the_next_mount_alone, .timeout = 60)
{
    struct local_backend *b = local_backend_start(&at_once);
    struct frontend *former = local_backend_frontend(b);
    cr_expect(frontend_is_mounted(former));
    cr_expect_eq(umount(local_backend_mountpoint(b)), 0);
    cr_expect(!frontend_is_mounted(former));
    local_backend_wait_unmounted(b);
    cr_expect(frontend_has_ended(former));

    local_backend_mount(b);
    cr_expect(!frontend_is_mounted(former));
    cr_expect(frontend_stop(former));
    cr_expect(frontend_is_mounted(local_backend_frontend(b)));
    cr_expect_eq(chdir(local_backend_mountpoint(b)), 0);
    write_whole("a", "served");
    expect_whole("a", "served");
    stop(b);
}

Test(frontend_mount, a_lazy_umount_under_an_open_file_is_seen, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("a", "kept");
    cr_expect(frontend_is_mounted(local_backend_frontend(b)));
    cr_expect_eq(umount2(local_backend_mountpoint(b), MNT_DETACH), 0);
    cr_expect(!frontend_is_mounted(local_backend_frontend(b)));
    expect_whole("a", "kept"); /* through the working directory */
    stop(b);
}

Test(frontend_mount, what_loses_its_name_while_nothing_is_mounted_is_freed, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("a", "x");
    cr_expect_eq(chdir("/"), 0);
    local_backend_unmount(b);
    foreign_unlink(b, "a");
    local_backend_settle(b);
    local_backend_stop(b);
}

Test(frontend_mount, what_was_open_without_a_name_is_freed_after_umount, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("a", "x");
    int fd = open("a", O_RDONLY);
    cr_expect_eq(unlink("a"), 0);
    cr_expect_eq(chdir("/"), 0);
    local_backend_unmount(b); /* detached, and aborted */
    local_backend_settle(b);
    close(fd);
    local_backend_stop(b);
}

/* The kernel thinks that the file ends where it ended when it last asked. */
Test(frontend_mount, an_append_goes_after_what_another_host_appended, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    write_whole("log", "1");
    int fd = open("log", O_WRONLY | O_APPEND);
    foreign_write(b, ino_of("log"), 1, "2");
    struct waiter w = {.kind = WAIT_WRITE, .fd = fd};
    start_waiting(b, &w); /* the WRITE is under way with an offset of 1 or 2 */
    foreign_write(b, ino_of("log"), 2, "333");
    local_backend_hold(b, false);
    cr_expect_eq(waiter_join(&w), 0);
    expect_whole("log", "12333x");
    close(fd);
    stop(b);
}

/* ---- what the kernel must have been told ---- */

Test(frontend_mount, lookups_in_one_directory_run_in_parallel, .timeout = 60)
{
    struct local_backend *b = start_in(&after_read_index);
    struct waiter w[3] = {{.kind = WAIT_STAT, .name = "a"},
                          {.kind = WAIT_STAT, .name = "b"},
                          {.kind = WAIT_STAT, .name = "c"}};
    local_backend_hold(b, true);
    for (int i = 0; i < 3; i++)
        waiter_start(b, &w[i]);
    local_backend_wait_held(b, 3); /* each first asks for the directory's permissions */
    local_backend_let_go(b, 3);
    local_backend_wait_held(b, 6);
    local_backend_hold(b, false);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(waiter_join(&w[i]), ENOENT);
    stop(b);
}

/* 1. A user's kernel finds no "a".  2. Root of another host makes "a", for itself alone.  3. The
 * user's CREATE is ordered. The kernel has not checked the file's permissions, so it must not be
 * opened. */
static int create_against_foreign(struct local_backend *b, uint32_t mode)
{
    struct waiter w = {.kind = WAIT_CREATE_AS_USER, .name = "a"};
    cr_expect_eq(chmod(".", 01777), 0);
    start_waiting(b, &w);
    foreign(b, (struct fs_command){.op = FS_CREATE,
                                   .parent = FS_ROOT_INO,
                                   .name = "a",
                                   .name_size = 1,
                                   .mode = S_IFREG | mode});
    local_backend_hold(b, false);
    return waiter_join(&w);
}

Test(frontend_mount, a_create_that_loses_a_race_checks_the_winners_permissions, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    cr_expect_eq(create_against_foreign(b, 0600), EACCES);
    stop(b);
}

Test(frontend_mount, a_create_that_loses_a_race_opens_the_winners_file, .timeout = 60)
{
    struct local_backend *b = start_in(&at_once);
    cr_expect_eq(create_against_foreign(b, 0666), 0);
    stop(b);
}

/* ---- answered once ---- */

enum { HASTE_PROCESSES = 6, HASTE_CALLS = 300 };

/* Exits with 0, or with the errno that no call should have. */
static int make_haste(int me)
{
    struct stat st;
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    for (int i = 0; i < HASTE_CALLS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d-%d", me, i);
        if (mkdir(name, 0700) < 0 && errno != EINTR && errno != EIO)
            return errno;
        if (stat(name, &st) < 0 && errno != EINTR && errno != EIO && errno != ENOENT)
            return errno;
    }
    return 0;
}

/* Until it is killed. */
static void make_haste_until_killed(int me)
{
    struct stat st;
    for (int i = 0;; i++) {
        char name[32];
        snprintf(name, sizeof(name), "doomed-%d-%d", me, i);
        mkdir(name, 0700);
        stat(name, &st);
    }
}

static void start_haste(struct local_backend *b, pid_t *process, int me, bool doomed)
{
    *process = local_backend_fork(b);
    if (*process > 0)
        return;
    if (doomed)
        make_haste_until_killed(me);
    _exit(make_haste(me));
}

/* Signals, time-outs, deaths and completions race for each call; a second answer, or a use of a
 * request after its end, is the sanitizers' and libfuse's to find; a missing one hangs. */
static void do_haste(uint64_t timeo_ns, uint64_t later_ns)
{
    struct local_backend *b =
        start_in(&(struct local_backend_config){.reads_wait = true, .timeo_ns = timeo_ns});
    pid_t processes[HASTE_PROCESSES], doomed;
    int status;
    signal(SIGUSR1, SIG_IGN); /* until the child has its handler */
    for (int i = 0; i < HASTE_PROCESSES; i++)
        start_haste(b, &processes[i], i, false);
    start_haste(b, &doomed, 0, true);
    for (int i = 0; i < 3000; i++) {
        kill(processes[i % HASTE_PROCESSES], SIGUSR1);
        if (i % 8 == 0)
            frontend_tick(local_backend_frontend(b), clock_now_ns() + later_ns);
        if (i % 50 == 49) {
            kill(doomed, SIGKILL);
            waitpid(doomed, &status, 0);
            start_haste(b, &doomed, i, true);
        }
        sched_yield();
    }
    kill(doomed, SIGKILL);
    waitpid(doomed, &status, 0);
    for (int i = 0; i < HASTE_PROCESSES; i++) {
        waitpid(processes[i], &status, 0);
        cr_expect_eq(status, 0, "status %x", status);
    }
    cr_expect_eq(waiting_in(b), 0);
    stop(b);
}

Test(frontend_mount, each_call_is_answered_once_whoever_comes_first, .timeout = 120)
{
    do_haste(NS_PER_MS, 0);
}

Test(frontend_mount, each_call_is_answered_once_also_when_interrupted_late, .timeout = 120)
{
    do_haste(0, INTERRUPT_PATIENCE_NS);
}

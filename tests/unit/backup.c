/* tests/unit/backup.c: the bytes of a backup: what comes back, what is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "fs/backup.h"

/* ---- fixtures ---- */

static const struct backup_header header = {.cluster_id = 0xABCD, .slot = 41, .time_ns = 7};
static const _Atomic bool never = false;
static char error[256];

static struct backup_patience patience(void)
{
    return (struct backup_patience){.idle_ns = 100 * NS_PER_MS,
                                    .deadline_ns = clock_now_ns() + 60 * NS_PER_S,
                                    .is_cancelled = &never};
}

static int file_of(const void *bytes, size_t size)
{
    FILE *f = tmpfile();
    cr_assert(f);
    cr_assert_eq(fwrite(bytes, 1, size, f), size);
    cr_assert_eq(fflush(f), 0);
    int fd = dup(fileno(f));
    fclose(f);
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static uint8_t *body_of(size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    cr_assert(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 977);
    return bytes;
}

static int whole(void *context)
{
    return *(int *)context;
}

/* A file that holds the backup of @body; @rc is what who exported it says in the end. */
static int write_backup(const uint8_t *body, size_t size, int rc, int *result)
{
    int in = file_of(body, size), out = file_of("", 0);
    struct backup_patience p = patience();
    uint64_t written;
    *result = backup_write(in, out, &header, &p, whole, &rc, &written);
    cr_expect_eq((off_t)written, lseek(out, 0, SEEK_END));
    close(in);
    return out;
}

static int good_backup(size_t size)
{
    uint8_t *body = body_of(size);
    int rc, fd = write_backup(body, size, 0, &rc);
    cr_assert_eq(rc, 0);
    free(body);
    return fd;
}

struct taken {
    uint8_t *bytes;
    size_t size;
};

static int take(void *context, const void *bytes, size_t size)
{
    struct taken *t = context;
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
    return 0;
}

static int check(int fd)
{
    struct backup_header h;
    error[0] = '\0';
    return backup_read(fd, &h, NULL, NULL, error, sizeof error);
}

static void expect_refused(int fd, const char *why)
{
    cr_expect_eq(check(fd), -EBADMSG);
    cr_expect(strstr(error, why), "\"%s\" does not say \"%s\"", error, why);
}

/* ---- tests ---- */

Test(backup, what_is_written_is_read_again)
{
    static const size_t sizes[] = {0, 1, 4096, 256 * KIB, 256 * KIB + 1, 700001};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint8_t *body = body_of(sizes[i]);
        int rc, fd = write_backup(body, sizes[i], 0, &rc);
        cr_assert_eq(rc, 0);
        struct taken t = {.bytes = malloc(sizes[i] + 1)};
        struct backup_header h;
        cr_assert_eq(backup_read(fd, &h, take, &t, error, sizeof error), 0, "%s", error);
        cr_expect_eq(t.size, sizes[i]);
        cr_expect_eq(memcmp(t.bytes, body, sizes[i]), 0);
        cr_expect_eq(h.cluster_id, header.cluster_id);
        cr_expect_eq(h.slot, header.slot);
        cr_expect_eq(h.time_ns, header.time_ns);
        free(t.bytes);
        free(body);
        close(fd);
    }
}

Test(backup, a_cut_one_is_refused_at_every_length)
{
    enum { BODY = 300 };
    int fd = good_backup(BODY);
    off_t size = lseek(fd, 0, SEEK_END);
    for (off_t left = size - 1; left >= 0; left--) {
        cr_assert_eq(ftruncate(fd, left), 0);
        cr_assert_eq(check(fd), -EBADMSG, "cut to %ld of %ld", (long)left, (long)size);
        cr_expect_neq(error[0], '\0');
        if (left >= BACKUP_HEADER_SIZE)
            cr_expect(strstr(error, "cut"), "%s", error);
    }
    close(fd);
}

Test(backup, a_changed_bit_is_refused_wherever_it_is)
{
    int fd = good_backup(200);
    off_t size = lseek(fd, 0, SEEK_END);
    for (off_t at = 0; at < size; at++) {
        uint8_t byte, other;
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        other = byte ^ (uint8_t)(1 << at % 8);
        cr_assert_eq(pwrite(fd, &other, 1, at), 1);
        cr_assert_eq(check(fd), -EBADMSG, "byte %ld", (long)at);
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    }
    cr_expect_eq(check(fd), 0, "%s", error);
    close(fd);
}

Test(backup, bytes_behind_the_end_are_refused)
{
    int fd = good_backup(200);
    cr_assert_eq(lseek(fd, 0, SEEK_END) >= 0, 1);
    cr_assert_eq(write(fd, "x", 1), 1);
    expect_refused(fd, "cut");
    close(fd);
}

Test(backup, what_is_no_backup_is_called_so)
{
    char text[4096];
    memset(text, 'a', sizeof text);
    int empty = file_of("", 0), foreign = file_of(text, sizeof text);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    expect_refused(empty, "no backup");
    expect_refused(foreign, "no backup");
    expect_refused(null, "no file");
    close(empty);
    close(foreign);
    close(null);
}

Test(backup, one_whose_export_failed_is_none)
{
    uint8_t *body = body_of(5000);
    int rc, fd = write_backup(body, 5000, -EIO, &rc);
    cr_expect_eq(rc, -EIO);
    expect_refused(fd, "cut");
    free(body);
    close(fd);
}

/* Into a pipe that holds less than the body. */
static int write_into_pipe(const struct backup_patience *p, bool is_read)
{
    int ends[2], rc_whole = 0;
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    uint8_t *body = body_of(MIB);
    int in = file_of(body, MIB);
    uint64_t written;
    if (!is_read)
        close(ends[0]);
    int rc = backup_write(in, ends[1], &header, p, whole, &rc_whole, &written);
    if (is_read)
        close(ends[0]);
    close(ends[1]);
    close(in);
    free(body);
    return rc;
}

Test(backup, a_reader_that_takes_nothing_is_not_waited_for)
{
    struct backup_patience p = patience();
    cr_expect_eq(write_into_pipe(&p, true), -ETIMEDOUT);
    p.idle_ns = 60 * NS_PER_S;
    p.deadline_ns = clock_now_ns() + 50 * NS_PER_MS;
    cr_expect_eq(write_into_pipe(&p, true), -ETIMEDOUT);
}

Test(backup, ends_when_it_is_cancelled_or_the_reader_has_gone)
{
    static const _Atomic bool at_once = true;
    struct backup_patience p = patience();
    cr_expect_eq(write_into_pipe(&p, false), -EPIPE);
    p.is_cancelled = &at_once;
    cr_expect_eq(write_into_pipe(&p, true), -ECANCELED);
}

#include "fs/inode_refs.h"

#include <criterion/criterion.h>

#define INO   UINT64_C(17)
#define MOUNT UINT64_C(1) /* the first */

static struct inode_refs *mounted(void)
{
    struct inode_refs *refs = inode_refs_new();
    cr_assert_eq(inode_refs_begin(refs), MOUNT);
    return refs;
}

static size_t gather_one(struct inode_refs *refs, uint64_t *ino)
{
    return inode_refs_gather(refs, ino, 1);
}

/* An orphan is gathered one gather after it was last seen held. */
static void expect_gathered(struct inode_refs *refs, uint64_t ino)
{
    uint64_t got = 0;
    cr_expect_eq(gather_one(refs, &got), 0, "too early");
    cr_expect_eq(gather_one(refs, &got), 1);
    cr_expect_eq(got, ino);
    cr_expect_eq(gather_one(refs, &got), 0, "twice");
}

static void expect_never_gathered(struct inode_refs *refs)
{
    uint64_t got;
    for (int i = 0; i < 4; i++)
        cr_expect_eq(gather_one(refs, &got), 0);
}

Test(inode_refs, holds_an_inode_until_the_last_lookup_is_forgotten)
{
    struct inode_refs *refs = mounted();
    cr_expect(!inode_refs_holds(refs, INO));
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_put(refs, MOUNT, INO, 2);
    cr_expect(inode_refs_holds(refs, INO));
    cr_expect_eq(inode_refs_count(refs), 1);
    inode_refs_put(refs, MOUNT, INO, 1);
    cr_expect(!inode_refs_holds(refs, INO));
    cr_expect_eq(inode_refs_count(refs), 0);
    inode_refs_free(refs);
}

Test(inode_refs, survives_a_forget_of_more_than_was_given)
{
    struct inode_refs *refs = mounted();
    inode_refs_put(refs, MOUNT, 1, 1); /* the root is never looked up */
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_put(refs, MOUNT, INO, UINT64_MAX);
    cr_expect(!inode_refs_holds(refs, INO));
    cr_expect_eq(inode_refs_count(refs), 0);
    inode_refs_free(refs);
}

Test(inode_refs, never_gathers_what_has_a_name)
{
    struct inode_refs *refs = mounted();
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_put(refs, MOUNT, INO, 1);
    expect_never_gathered(refs);
    inode_refs_free(refs);
}

Test(inode_refs, gathers_an_orphan_that_the_kernel_never_held)
{
    struct inode_refs *refs = mounted();
    cr_expect_eq(inode_refs_orphaned(refs, INO), 0);
    expect_gathered(refs, INO);
    inode_refs_free(refs);
}

Test(inode_refs, gathers_an_orphan_once_the_kernel_forgot_it)
{
    struct inode_refs *refs = mounted();
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_orphaned(refs, INO);
    expect_never_gathered(refs);
    inode_refs_put(refs, MOUNT, INO, 1);
    expect_gathered(refs, INO);
    inode_refs_free(refs);
}

/* 1. A lookup finds INO in its snapshot.  2. INO is unlinked; the kernel holds it not: an orphan.
 * 3. The lookup counts it and answers: the kernel may open it now. */
Test(inode_refs, keeps_an_orphan_that_a_lookup_in_flight_gives_to_the_kernel)
{
    struct inode_refs *refs = mounted();
    uint64_t got;
    inode_refs_orphaned(refs, INO);
    cr_expect_eq(gather_one(refs, &got), 0);
    inode_refs_get(refs, MOUNT, INO);
    expect_never_gathered(refs);
    inode_refs_put(refs, MOUNT, INO, 1);
    expect_gathered(refs, INO);
    inode_refs_free(refs);
}

Test(inode_refs, gathers_many_orphans_in_pieces_and_each_once)
{
    enum { COUNT = 10000, ROOM = 999 };
    static bool seen[COUNT + 1];
    struct inode_refs *refs = mounted();
    uint64_t inos[ROOM];
    size_t total = 0, count;
    for (uint64_t ino = 1; ino <= COUNT; ino++)
        inode_refs_orphaned(refs, ino);
    cr_expect_eq(inode_refs_gather(refs, inos, ROOM), 0);
    while ((count = inode_refs_gather(refs, inos, ROOM)) > 0) {
        cr_assert_leq(count, ROOM);
        total += count;
        for (size_t i = 0; i < count; i++) {
            cr_assert(!seen[inos[i]]);
            seen[inos[i]] = true;
        }
    }
    cr_expect_eq(total, COUNT);
    inode_refs_free(refs);
}

Test(inode_refs, gathers_an_orphan_where_nothing_was_ever_mounted)
{
    struct inode_refs *refs = inode_refs_new();
    cr_expect_eq(inode_refs_orphaned(refs, INO), 0);
    expect_gathered(refs, INO);
    inode_refs_free(refs);
}

Test(inode_refs, the_end_of_the_mount_lets_go_of_all_that_it_held)
{
    struct inode_refs *refs = mounted();
    inode_refs_get(refs, MOUNT, INO);
    inode_refs_get(refs, MOUNT, INO + 1);
    inode_refs_orphaned(refs, INO);
    inode_refs_end(refs, MOUNT);
    cr_expect_eq(inode_refs_count(refs), 0);
    cr_expect(!inode_refs_holds(refs, INO + 1));
    expect_gathered(refs, INO);
    inode_refs_free(refs);
}

/* A worker of the former mount may hang in the kernel while the next one begins. */
Test(inode_refs, what_comes_late_from_a_former_mount_does_not_count)
{
    struct inode_refs *refs = mounted();
    inode_refs_get(refs, MOUNT, INO);
    uint64_t next = inode_refs_begin(refs);
    cr_expect_eq(inode_refs_count(refs), 0);
    inode_refs_get(refs, next, INO);
    inode_refs_put(refs, MOUNT, INO, 1);
    inode_refs_end(refs, MOUNT);
    cr_expect(inode_refs_holds(refs, INO));
    cr_expect_eq(inode_refs_get(refs, MOUNT, INO + 1), 0);
    cr_expect(!inode_refs_holds(refs, INO + 1));
    inode_refs_put(refs, next, INO, 1);
    cr_expect_eq(inode_refs_count(refs), 0);
    inode_refs_free(refs);
}

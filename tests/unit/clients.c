#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "node/clients.h"
#include "tests/support/store_ops.h"

struct ended {
    struct request request;
    int times, error;
    uint64_t ino;
};

static void on_complete(struct request *r, int error, const struct fs_outcome *outcome)
{
    struct ended *e = container_of(r, struct ended, request);
    e->times++;
    e->error = error;
    e->ino = outcome ? outcome->attr.ino : 0;
}

static void no_wake(void *context)
{
    (void)context;
}

static void submit(struct clients *c, struct ended *e)
{
    *e = (struct ended){.request = {.bytes = malloc(4), .size = 4, .complete = on_complete}};
    memset(e->request.bytes, 1, 4);
    clients_submit(c, &e->request);
}

static struct clients *opened(void)
{
    struct clients *c = calloc(1, sizeof *c);
    clients_init(c, 7, 5, no_wake, NULL);
    struct command *open = clients_session_open(c);
    struct store_applied result = {.verdict = SESSION_NEW, .outcome = {.epoch = 3}};
    cr_assert(clients_on_result(c, open, 0, &result));
    command_unref(open);
    return c;
}

static void finish(struct clients *c)
{
    clients_deinit(c);
    free(c);
}

static void apply(struct clients *c, const struct command *command, enum session_verdict verdict,
                  uint64_t ino)
{
    struct store_applied result = {.verdict = verdict, .outcome = {.attr = {.ino = ino}}};
    clients_on_result(c, command, 0, &result);
}

Test(clients, submits_nothing_before_its_session_is_open)
{
    struct clients *c = calloc(1, sizeof *c);
    struct ended e;
    clients_init(c, 7, 5, no_wake, NULL);
    submit(c, &e);
    cr_expect_null(clients_next(c));

    struct command *other = clients_session_open(c);
    c->life++; /* the open of a former life says nothing about this one */
    struct store_applied result = {.verdict = SESSION_NEW, .outcome = {.epoch = 3}};
    cr_expect_not(clients_on_result(c, other, 0, &result));
    cr_expect_null(clients_next(c));
    command_unref(other);
    clients_fail(c, -EIO);
    cr_expect_eq(e.times, 1);
    cr_expect_eq(e.error, -EIO);
    free(e.request.bytes);
    finish(c);
}

Test(clients, answers_each_command_once_however_often_it_is_applied)
{
    struct clients *c = opened();
    struct ended e;
    submit(c, &e);
    struct command *command = clients_next(c);
    cr_assert_not_null(command);
    cr_expect_eq(command->epoch, 3);
    cr_expect_eq(command->sequence, 1);
    apply(c, command, SESSION_NEW, 42);
    apply(c, command, SESSION_REPEATED, 42);
    apply(c, command, SESSION_SETTLED, 0);
    cr_expect_eq(e.times, 1);
    cr_expect_eq(e.ino, 42);
    cr_expect_eq(clients_bytes(c), 0);
    command_unref(command);
    finish(c);
}

/* ---- a session that others ended ---- */

static void reopen_life(struct clients *c, uint64_t epoch, uint64_t life)
{
    struct command *open = clients_next(c);
    cr_assert_not_null(open);
    cr_assert_eq(open->sequence, 0);
    cr_expect_eq(open->epoch, epoch - 1, "it names the epoch that ended");
    cr_expect_null(clients_next(c), "asked for once");
    struct fs_command decoded;
    cr_assert_eq(fs_command_decode(open->bytes, open->size, &decoded), 0);
    cr_expect(decoded.op == FS_SESSION_OPEN && decoded.nonce == life);
    struct store_applied result = {.verdict = SESSION_NEW, .outcome = {.epoch = epoch}};
    cr_expect(clients_on_result(c, open, 0, &result));
    command_unref(open);
}

static void reopen(struct clients *c, uint64_t epoch)
{
    reopen_life(c, epoch, 5);
}

/* Of the request that submit() made the @nth (from 0). */
static void expect_next(struct clients *c, uint64_t epoch, uint64_t sequence, uint8_t nth,
                        struct command **out)
{
    struct command *command = clients_next(c);
    cr_assert_not_null(command);
    cr_expect_eq(command->epoch, epoch);
    cr_expect_eq(command->sequence, sequence);
    cr_assert_eq(command->size, 4);
    cr_expect_eq(command->bytes[0], nth);
    *out = command;
}

static void submit_nth(struct clients *c, struct ended *e, uint8_t nth)
{
    *e = (struct ended){.request = {.bytes = malloc(4), .size = 4, .complete = on_complete}};
    memset(e->request.bytes, nth, 4);
    clients_submit(c, &e->request);
}

Test(clients, what_is_fenced_is_numbered_anew_in_its_old_order_before_all_that_waits)
{
    struct clients *c = opened();
    struct ended e[4];
    struct command *old[3], *anew[4];
    for (uint8_t i = 0; i < 3; i++) {
        submit_nth(c, &e[i], i);
        old[i] = clients_next(c);
    }
    submit_nth(c, &e[3], 3);
    struct store_applied fenced = {.verdict = SESSION_FENCED};
    cr_expect(clients_on_result(c, old[2], 0, &fenced), "a new session is needed");
    clients_on_result(c, old[0], 0, &fenced);
    clients_on_result(c, old[1], 0, &fenced);
    clients_on_result(c, old[1], 0, &fenced); /* a repeat */
    reopen(c, 4);
    for (uint8_t i = 0; i < 4; i++) {
        expect_next(c, 4, i + 1u, i, &anew[i]);
        cr_expect_eq(anew[i]->low, 1);
        cr_expect_eq(e[i].times, 0);
    }
    for (int i = 0; i < 3; i++)
        command_unref(old[i]);
    for (uint8_t i = 0; i < 4; i++) {
        cr_expect_eq(anew[i]->bytes[3], i);
        apply(c, anew[i], SESSION_NEW, i + 10u);
        cr_expect(e[i].times == 1 && e[i].error == 0 && e[i].ino == i + 10u);
        command_unref(anew[i]);
    }
    cr_expect_eq(clients_bytes(c), 0);
    finish(c);
}

Test(clients, what_was_applied_before_the_end_is_answered_also_when_the_next_epoch_has_begun)
{
    struct clients *c = opened();
    struct ended e[3];
    struct command *old[3], *anew[2];
    for (uint8_t i = 0; i < 3; i++) {
        submit_nth(c, &e[i], i);
        old[i] = clients_next(c);
    }
    apply(c, old[1], SESSION_FENCED, 0);
    reopen(c, 4);
    expect_next(c, 4, 1, 1, &anew[0]);
    apply(c, old[2], SESSION_REPEATED, 12);
    cr_expect(e[2].times == 1 && e[2].ino == 12);
    apply(c, old[0], SESSION_FENCED, 0); /* later than the next epoch began */
    expect_next(c, 4, 2, 0, &anew[1]);
    apply(c, anew[1], SESSION_NEW, 10);
    apply(c, anew[0], SESSION_NEW, 11);
    for (uint8_t i = 0; i < 2; i++)
        cr_expect(e[i].times == 1 && e[i].ino == i + 10u);
    for (int i = 0; i < 3; i++)
        command_unref(old[i]);
    for (int i = 0; i < 2; i++)
        command_unref(anew[i]);
    cr_expect_eq(c->low, 3);
    finish(c);
}

Test(clients, what_is_fenced_again_and_again_is_numbered_each_time)
{
    enum { TIMES = 5 };
    struct clients *c = opened();
    struct ended e;
    struct command *command;
    submit_nth(c, &e, 9);
    for (uint64_t epoch = 3; epoch < 3 + TIMES; epoch++) {
        expect_next(c, epoch, 1, 9, &command);
        apply(c, command, SESSION_FENCED, 0);
        command_unref(command);
        reopen(c, epoch + 1);
    }
    expect_next(c, 3 + TIMES, 1, 9, &command);
    apply(c, command, SESSION_NEW, 42);
    cr_expect(e.times == 1 && e.ino == 42);
    command_unref(command);
    finish(c);
}

Test(clients, what_is_fenced_can_be_cancelled)
{
    struct clients *c = opened();
    struct ended e[2];
    struct command *old[2];
    for (uint8_t i = 0; i < 2; i++) {
        submit_nth(c, &e[i], i);
        old[i] = clients_next(c);
    }
    clients_cancel(c, &e[0].request); /* while it may still be applied */
    cr_expect_eq(e[0].times, 0);
    for (int i = 0; i < 2; i++)
        apply(c, old[i], SESSION_FENCED, 0);
    clients_cancel(c, &e[1].request);
    for (int i = 0; i < 2; i++) {
        cr_expect(e[i].times == 1 && e[i].error == -ECANCELED);
        command_unref(old[i]);
    }
    reopen(c, 4);
    cr_expect_null(clients_next(c));
    cr_expect_eq(clients_bytes(c), 0);
    finish(c);
}

Test(clients, the_core_never_gets_more_than_it_keeps)
{
    enum { MANY = 2 * SESSION_OPEN_MAX };
    struct clients *c = opened();
    static struct ended e[MANY];
    static struct command *commands[MANY];
    uint32_t count = 0;
    for (int i = 0; i < MANY; i++)
        submit(c, &e[i]);
    while ((commands[count] = clients_next(c)))
        count++;
    cr_expect_eq(count, SESSION_OPEN_MAX);
    apply(c, commands[0], SESSION_FENCED, 0);
    reopen(c, 4);
    while (count < MANY && (commands[count] = clients_next(c)))
        count++;
    cr_expect_eq(count - 1, SUBMITS_MAX - 2, "with the opens");
    clients_fail(c, -EIO);
    for (int i = 0; i < MANY; i++)
        cr_expect(e[i].times == 1 && e[i].error == -EIO);
    for (uint32_t i = 0; i < count; i++)
        command_unref(commands[i]);
    for (int i = 0; i < MANY; i++)
        free(e[i].request.bytes);
    finish(c);
}

/* ---- results that a snapshot skipped ---- */

Test(clients, a_snapshot_ends_what_it_says_was_applied_and_fences_what_never_will_be)
{
    struct store_fixture f;
    store_fixture_init(&f); /* node 1 has opened its session for life 1 */
    struct clients *c = calloc(1, sizeof *c);
    clients_init(c, 1, 1, no_wake, NULL);
    struct command *open = clients_session_open(c);
    struct store_applied result = {.verdict = SESSION_NEW, .outcome = {.epoch = f.epoch}};
    clients_on_result(c, open, 0, &result);
    command_unref(open);

    struct ended e[3];
    struct command *commands[3], *anew;
    for (uint8_t i = 0; i < 3; i++) {
        submit_nth(c, &e[i], i);
        commands[i] = clients_next(c);
    }
    store_fixture_apply_bytes(&f, commands[1]); /* an agreed EINVAL: the bytes are none */
    clients_on_installed(c, f.store);
    cr_expect_eq(e[0].times, 0);
    cr_expect(e[1].times == 1 && e[1].error == 0);
    cr_expect_eq(e[2].times, 0);
    cr_expect_null(clients_next(c));

    store_fixture_apply_bytes(&f, commands[2]);
    uint64_t epoch = f.epoch;
    store_fixture_session(&f, 2, 1);
    struct fs_outcome ended = op_expire(&f, 1, epoch, 3);
    cr_expect_eq(ended.error, 0);
    clients_on_installed(c, f.store);
    cr_expect_eq(e[0].times, 0);
    cr_expect(e[2].times == 1 && e[2].error == 0);
    reopen_life(c, epoch + 1, 1);
    expect_next(c, epoch + 1, 1, 0, &anew);
    cr_expect_eq(c->former_count, 3, "the core still has them");
    for (int i = 0; i < 3; i++) { /* decided (again) */
        apply(c, commands[i], SESSION_FENCED, 0);
        command_unref(commands[i]);
    }
    cr_expect_eq(c->former_count, 0);
    cr_expect_null(clients_next(c));
    apply(c, anew, SESSION_NEW, 42);
    cr_expect(e[0].times == 1 && e[0].ino == 42);
    cr_expect_eq(e[1].times + e[2].times, 2);
    command_unref(anew);
    store_fixture_deinit(&f);
    finish(c);
}

/* ---- room ---- */

struct submitting {
    struct clients *clients;
    struct ended *e;
    uint64_t took_ns;
};

static void *submit_main(void *argument)
{
    struct submitting *s = argument;
    uint64_t began = clock_now_ns();
    clients_submit(s->clients, &s->e->request);
    s->took_ns = clock_now_ns() - began;
    return NULL;
}

static struct ended patient(uint32_t size)
{
    return (struct ended){.request = {.size = size, .patient = true, .complete = on_complete}};
}

static void wait_a_little(void)
{
    uint64_t until = clock_now_ns() + 50 * NS_PER_MS;
    while (clock_now_ns() < until)
        sched_yield();
}

Test(clients, what_finds_no_room_waits_for_some_and_then_gets_none)
{
    struct clients *c = opened();
    struct ended all = patient((uint32_t)CLIENT_BYTES_MAX - 10), fits = patient(10);
    struct ended other = patient(1), own = {.request = {.size = 9, .complete = on_complete}};
    struct submitting s = {.clients = c, .e = &other};
    clients_submit(c, &all.request);
    clients_submit(c, &fits.request);
    cr_expect_eq(clients_bytes(c), CLIENT_BYTES_MAX);
    submit_main(&s);
    cr_expect(other.times == 1 && other.error == -ENOMEM);
    cr_expect_geq(s.took_ns, ROOM_WAIT_NS - 10 * NS_PER_MS);
    cr_expect_lt(s.took_ns, 2 * ROOM_WAIT_NS);
    clients_submit(c, &own.request); /* the node's */
    cr_expect_eq(own.times, 0);
    clients_fail(c, -EIO);
    cr_expect_eq(clients_bytes(c), 0);
    finish(c);
}

Test(clients, who_waits_for_room_hears_of_it_of_a_cancel_and_of_the_end)
{
    enum { ROOM, CANCEL, STOP, WAYS };
    static const int errors[WAYS] = {0, -ECANCELED, -EIO};
    for (int way = 0; way < WAYS; way++) {
        struct clients *c = opened();
        struct ended all = patient((uint32_t)CLIENT_BYTES_MAX), other = patient(1);
        struct submitting s = {.clients = c, .e = &other};
        pthread_t thread;
        clients_submit(c, &all.request);
        cr_assert_eq(pthread_create(&thread, NULL, submit_main, &s), 0);
        wait_a_little();
        if (way == ROOM)
            clients_cancel(c, &all.request);
        else if (way == CANCEL)
            clients_cancel(c, &other.request);
        else
            clients_fail(c, -EIO);
        pthread_join(thread, NULL);
        cr_expect_lt(s.took_ns, ROOM_WAIT_NS / 2, "%d", way);
        cr_expect_eq(other.times, way != ROOM, "%d", way);
        cr_expect_eq(other.error, errors[way], "%d", way);
        clients_fail(c, -EIO);
        cr_expect_eq(other.times, 1);
        finish(c);
    }
}

Test(clients, the_mark_moves_only_past_what_is_answered)
{
    struct clients *c = opened();
    struct ended e[4];
    struct command *commands[4];
    for (int i = 0; i < 3; i++) {
        submit(c, &e[i]);
        commands[i] = clients_next(c);
        cr_expect_eq(commands[i]->low, 1);
    }
    apply(c, commands[1], SESSION_NEW, 2); /* out of order */
    cr_expect_eq(c->low, 1);
    apply(c, commands[0], SESSION_NEW, 1);
    cr_expect_eq(c->low, 3);
    submit(c, &e[3]);
    commands[3] = clients_next(c);
    cr_expect_eq(commands[3]->low, 3);
    for (int i = 2; i < 4; i++)
        apply(c, commands[i], SESSION_NEW, 1);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(e[i].times, 1);
        command_unref(commands[i]);
    }
    finish(c);
}

Test(clients, at_most_session_open_max_are_unanswered)
{
    struct clients *c = opened();
    static struct ended e[SESSION_OPEN_MAX + 1];
    static struct command *commands[SESSION_OPEN_MAX + 1];
    for (int i = 0; i <= SESSION_OPEN_MAX; i++)
        submit(c, &e[i]);
    for (int i = 0; i < SESSION_OPEN_MAX; i++) {
        commands[i] = clients_next(c);
        cr_assert_not_null(commands[i]);
    }
    cr_expect_null(clients_next(c));
    apply(c, commands[5], SESSION_NEW, 1); /* not the lowest: no room yet */
    cr_expect_null(clients_next(c));
    apply(c, commands[0], SESSION_NEW, 1);
    commands[SESSION_OPEN_MAX] = clients_next(c);
    cr_assert_not_null(commands[SESSION_OPEN_MAX]);
    clients_fail(c, -EIO);
    for (int i = 0; i <= SESSION_OPEN_MAX; i++) {
        cr_expect_eq(e[i].times, 1, "%d", i);
        command_unref(commands[i]);
    }
    finish(c);
}

Test(clients, what_is_cancelled_before_it_has_a_number_never_gets_one)
{
    struct clients *c = opened();
    struct ended e[3];
    for (int i = 0; i < 3; i++)
        submit(c, &e[i]);
    clients_cancel(c, &e[1].request);
    cr_expect_eq(e[1].times, 1);
    cr_expect_eq(e[1].error, -ECANCELED);
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        struct command *command = clients_next(c);
        cr_assert_not_null(command);
        cr_expect_eq(command->sequence, sequence);
        apply(c, command, SESSION_NEW, sequence);
        command_unref(command);
    }
    cr_expect_null(clients_next(c));
    cr_expect(e[0].times == 1 && e[0].ino == 1);
    cr_expect(e[1].times == 1);
    cr_expect(e[2].times == 1 && e[2].ino == 2);
    free(e[1].request.bytes);
    finish(c);
}

Test(clients, what_is_cancelled_after_it_has_a_number_ends_as_it_would_have)
{
    struct clients *c = opened();
    struct ended e;
    submit(c, &e);
    struct command *command = clients_next(c);
    clients_cancel(c, &e.request);
    cr_expect_eq(e.times, 0);
    apply(c, command, SESSION_NEW, 42);
    cr_expect(e.times == 1 && e.error == 0 && e.ino == 42);
    command_unref(command);
    finish(c);
}

/* A worker is about to hand it over when its caller is killed. */
Test(clients, what_is_cancelled_before_it_is_handed_over_ends_there)
{
    struct clients *c = opened();
    struct ended e = {.request = {.bytes = malloc(4), .size = 4, .complete = on_complete}};
    clients_cancel(c, &e.request);
    cr_expect_eq(e.times, 0);
    clients_submit(c, &e.request);
    cr_expect(e.times == 1 && e.error == -ECANCELED);
    cr_expect_null(clients_next(c));
    free(e.request.bytes);
    finish(c);
}

/* FUSE workers submit: one that waits reads no INTERRUPT. */
Test(clients, nobody_waits_for_room_however_many_wait_for_a_quorum)
{
    enum { MANY = 20000 };
    struct clients *c = opened();
    static struct ended e[MANY];
    for (int i = 0; i < MANY; i++)
        submit(c, &e[i]);
    for (int i = 0; i < MANY; i++) {
        clients_cancel(c, &e[i].request);
        cr_assert_eq(e[i].times, 1);
        free(e[i].request.bytes);
    }
    cr_expect_null(clients_next(c));
    finish(c);
}

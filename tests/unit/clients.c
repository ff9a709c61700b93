#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/clients.h"

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
    cr_expect_eq(clients_open(c), 0);
    command_unref(command);
    finish(c);
}

Test(clients, a_fenced_command_fails_with_eio)
{
    struct clients *c = opened();
    struct ended e;
    submit(c, &e);
    struct command *command = clients_next(c);
    apply(c, command, SESSION_FENCED, 0);
    cr_expect_eq(e.times, 1);
    cr_expect_eq(e.error, -EIO);
    command_unref(command);
    finish(c);
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

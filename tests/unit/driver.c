/* tests/unit/driver.c: what the driver does with what the core wants. The core, the log, the store
 * and the wire are played by the test. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "node/driver.h"

enum { SELF = 1, OTHER = 2, EVENTS_MAX = 64 };

/* ---- the core: it wants what the test wrote down for the next step ---- */

static struct paxos_view view;
static struct effect wanted[8];
static uint32_t wanted_count;
static struct event_seen {
    enum event_kind kind;
    uint32_t from;
} events[EVENTS_MAX];
static uint32_t event_count;

uint64_t paxos_size(void)
{
    return 1;
}

struct paxos *paxos_init(void *memory, const struct paxos_config *config,
                         const struct paxos_recovered *recovered, bool fresh, uint64_t now_ns)
{
    (void)config, (void)recovered, (void)fresh, (void)now_ns;
    return memory;
}

void paxos_deinit(struct paxos *p)
{
    (void)p;
}

void paxos_step(struct paxos *p, const struct event *event, struct effects *out)
{
    (void)p;
    ASSERT(event_count < EVENTS_MAX);
    events[event_count++] = (struct event_seen){
        .kind = event->kind, .from = event->kind == EVENT_MESSAGE ? event->message.from : 0};
    for (uint32_t i = 0; i < wanted_count; i++)
        out->list[out->count++] = wanted[i];
    wanted_count = 0;
}

void paxos_view(const struct paxos *p, struct paxos_view *out)
{
    (void)p;
    *out = view;
}

/* ---- log, store, wire, marks: what was done, in order ---- */

static char done[512];
static struct peer_message sent;
static uint32_t sent_to;
static uint64_t sent_slots[ENTRIES_MAX];

static void note(const char *what, uint64_t number)
{
    size_t size = strlen(done);
    snprintf(done + size, sizeof done - size, "%s%s %lu", size ? ", " : "", what, number);
}

void logger_append(struct logger *l, const struct persist *record)
{
    (void)l;
    note("append", record->number);
}

void logger_commit(struct logger *l)
{
    (void)l;
}

void logger_read(struct logger *l, uint32_t to, uint64_t first, uint64_t last)
{
    (void)l, (void)to, (void)last;
    note("read", first);
}

void logger_collect(struct logger *l, uint64_t slot)
{
    (void)l;
    note("collect", slot);
}

void storer_apply(struct storer *s, const struct pvalue *decided, uint64_t persisted)
{
    (void)s, (void)persisted;
    note("apply", decided->slot);
}

void pending_put(struct pending *p, uint64_t slot, const struct command *command)
{
    (void)p, (void)command;
    note("pending", slot);
}

void transport_send(struct transport *t, uint32_t to, const struct peer_message *m)
{
    (void)t;
    note("send", to);
    sent = *m;
    sent_to = to;
    if (m->paxos.kind == MESSAGE_DECISIONS)
        for (uint32_t i = 0; i < m->paxos.decisions.count; i++)
            sent_slots[i] = m->paxos.decisions.pvalues[i].slot;
}

static void on_read_ready(void *context, uint64_t read, uint64_t slot)
{
    (void)context, (void)slot;
    note("ready", read);
}

static void on_view(void *context, const struct paxos_view *v)
{
    (void)context, (void)v;
}

static void on_snapshot(void *context, uint32_t from)
{
    (void)context;
    note("snapshot", from);
}

static const char *node_name(void *context, uint64_t node_id)
{
    (void)context, (void)node_id;
    return "-";
}

/* ---- fixture ---- */

static struct driver *d;
static struct command command = {.node = SELF};

static void begin(const struct paxos_recovered *recovered)
{
    struct driver_edges edges = {.on_read_ready = on_read_ready,
                                 .on_view = on_view,
                                 .on_snapshot = on_snapshot,
                                 .node_name = node_name};
    struct paxos_config config = {.node = SELF,
                                  .configuration = configuration_of((uint64_t[]){SELF, OTHER}, 2)};
    view.configuration = config.configuration;
    view.decided = recovered->applied;
    atomic_store(&command.refs, 1000);
    cr_assert_eq(driver_new(&config, recovered, false, &edges, &d), 0);
}

static void setup(void)
{
    begin(&(struct paxos_recovered){.applied = 10});
}

static void teardown(void)
{
    driver_free(d);
}

TestSuite(driver, .init = setup, .fini = teardown);

static void want(struct effect e)
{
    wanted[wanted_count++] = e;
}

static void want_send(uint32_t to, uint64_t after)
{
    want((struct effect){.kind = EFFECT_SEND,
                         .send = {.to = to, .after = after, .message = {.kind = MESSAGE_DECIDED}}});
}

static void want_persist(enum persist_kind kind, uint64_t number, uint64_t slot)
{
    command_ref(&command);
    want((struct effect){.kind = EFFECT_PERSIST,
                         .persist = {.kind = kind,
                                     .number = number,
                                     .pvalue = {.slot = slot, .command = &command}}});
}

static void want_decide(uint64_t slot)
{
    command_ref(&command);
    want((struct effect){.kind = EFFECT_DECIDE, .decide = {.slot = slot, .command = &command}});
}

static void step(void)
{
    struct event tick = {.kind = EVENT_TICK};
    done[0] = '\0';
    driver_step(d, &tick);
}

static void install(uint64_t slot)
{
    struct event event = {.kind = EVENT_INSTALLED,
                          .installed = {.slot = slot, .configuration = &view.configuration}};
    done[0] = '\0';
    view.decided = slot;
    driver_step(d, &event);
}

static void give(uint64_t slot_first, uint64_t first, uint32_t count)
{
    struct pvalue pvalues[ENTRIES_MAX];
    for (uint32_t i = 0; i < count; i++)
        pvalues[i] = (struct pvalue){.ballot = {3, 1}, .slot = first + i, .command = &command};
    done[0] = '\0';
    driver_on_decisions(d, OTHER - 1, slot_first, pvalues, count);
}

/* ---- tests ---- */

Test(driver, a_vote_is_pending_before_any_message_that_follows_it)
{
    want_persist(PERSIST_ACCEPT, 1, 11);
    want_persist(PERSIST_DECISION, 2, 12);
    want_send(2, 0);
    step();
    cr_expect_str_eq(done, "pending 11, append 1, pending 12, append 2, send 2");
}

Test(driver, what_was_recovered_is_pending_from_the_start)
{
    driver_free(d);
    struct pvalue accepted[] = {{.slot = 12, .command = &command},
                                {.slot = 11, .command = &command}};
    done[0] = '\0';
    begin(&(struct paxos_recovered){.applied = 10, .count = 2, .accepted = accepted});
    cr_expect_str_eq(done, "pending 12, pending 11");
}

Test(driver, a_wanted_snapshot_is_passed_on)
{
    want((struct effect){.kind = EFFECT_SNAPSHOT, .snapshot = {.from = 1}});
    step();
    cr_expect_str_eq(done, "snapshot 1");
}

Test(driver, after_an_install_the_log_lets_go_before_anything_else_happens)
{
    want((struct effect){.kind = EFFECT_FETCH, .fetch = {.to = 1, .first = 400, .last = 500}});
    want_decide(501);
    install(500);
    cr_expect_str_eq(done, "collect 500, read 400, apply 501");
    cr_expect_eq(driver_logged(d), 501);
    want_persist(PERSIST_ACCEPT, 1, 502);
    want_decide(502);
    step();
    cr_expect_eq(driver_logged(d), 501, "its record is not durable");
    driver_on_durable(d, 1);
    cr_expect_eq(driver_logged(d), 502);
}

Test(driver, decided_slots_alone_are_given_and_what_the_log_lacks_is_said)
{
    view.decided = 12;
    step();
    give(0, 11, 4);
    cr_expect_eq(sent.paxos.decisions.count, 2);
    cr_expect_eq(sent.paxos.decisions.slot_first, 0);
    give(7, 0, 0);
    cr_expect_str_eq(done, "send 2", "also where there is nothing to give");
    cr_expect_eq(sent.paxos.decisions.count, 0);
    cr_expect_eq(sent.paxos.decisions.slot_first, 7);
}

Test(driver, what_was_read_before_an_install_is_not_taken_for_decided)
{
    install(500);
    view.decided = 502;
    step();
    give(0, 498, 4); /* read when nothing of it was decided here: votes, perhaps ones that lost */
    cr_expect_eq(sent.paxos.decisions.count, 1);
    cr_expect_eq(sent_slots[0], 501);
    cr_expect_eq(sent.paxos.decisions.slot_first, 501);
    give(600, 0, 0);
    cr_expect_eq(sent.paxos.decisions.slot_first, 600);
}

Test(driver, messages_to_oneself_follow_the_own_seat)
{
    want_send(1 | 2, 0);
    step();
    cr_expect_str_eq(done, "send 2");
    cr_expect_eq(events[event_count - 1].kind, EVENT_MESSAGE);
    cr_expect_eq(events[event_count - 1].from, 0);

    view.configuration = (struct configuration){.members = {OTHER, 0, SELF}};
    want_send(1 | 4, 0);
    step();
    cr_expect_str_eq(done, "send 1");
    cr_expect_eq(events[event_count - 1].from, 2);

    view.configuration = (struct configuration){.members = {OTHER}};
    uint32_t before = event_count;
    want_send(1, 0);
    step();
    cr_expect_str_eq(done, "send 1");
    cr_expect_eq(event_count, before + 1, "without a seat: nothing to oneself");
}

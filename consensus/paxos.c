#include "consensus/paxos.h"

#include <stddef.h>

#include "base/assert.h"
#include "consensus/paxos_node.h"

static_assert(SLOTS_HELD_MAX / ENTRIES_MAX + 2 * (1 + WINDOW) + SUBMITS_MAX + 64 <
                  EFFECTS_PER_STEP_MAX,
              "a flush fits: p2bs, p2as, forwarded commands and the rest");
static_assert(MEMBERS_MAX <= 32, "a member mask is a uint32_t");

uint64_t paxos_size(void)
{
    return sizeof(struct paxos);
}

static void recover_pvalues(struct paxos *p, const struct paxos_recovered *recovered)
{
    for (uint32_t i = 0; i < recovered->count; i++) {
        const struct pvalue *v = &recovered->accepted[i];
        if (v->slot <= recovered->applied)
            continue;
        pvalue_table_put(&p->held, v); /* it fits: see replica_hint_for() */
        if (ballot_cmp(v->ballot, p->acceptor.promised) > 0)
            p->acceptor.promised = v->ballot;
        /* A fetched value (no ballot): it and all below it are decided as they are held. */
        if (ballot_is_bottom(v->ballot) && v->slot > p->replica.known)
            p->replica.known = v->slot;
    }
}

struct paxos *paxos_init(void *memory, const struct paxos_config *config,
                         const struct paxos_recovered *recovered, bool fresh, uint64_t now_ns)
{
    struct paxos *p = memory;
    p->config = *config;
    p->configuration = config->configuration;
    p->self = configuration_seat(&p->configuration, config->node);
    p->now_ns = now_ns;
    p->leader_index = MEMBERS_MAX;
    p->box.everyone = configuration_everyone(&p->configuration);
    p->box.others = p->box.everyone & ~(UINT32_C(1) << p->self);
    p->held.base = p->proposals.base = recovered->applied;

    /* Also who is alone: a learner that it removed may hold a read lease of its former life's. */
    acceptor_init(&p->acceptor, &p->held, recovered->promised,
                  fresh ? 0 : now_ns + LEASE_GIVEN_NS);
    scout_init(&p->scout, &p->proposals);
    leader_init(&p->leader, &p->proposals);
    replica_init(&p->replica, &p->held, p->self);
    p->replica.is_blank = config->is_blank;
    read_lease_init(&p->lease, config->life);
    p->replica.decided = p->replica.applied = p->replica.hinted = recovered->applied;
    p->replica.checkpointed = recovered->checkpointed;
    p->replica.time_ns = recovered->time_ns;
    recover_pvalues(p, recovered);
    p->round_max = p->acceptor.promised.round;

    struct prng prng = {config->seed ^ now_ns};
    reader_init(&p->reader, prng_next(&prng));
    detector_init(&p->detector, prng_next(&prng), p->self, now_ns);
    return p;
}

void paxos_deinit(struct paxos *p)
{
    leader_stop(&p->leader);
    pvalue_table_clear(&p->held);
    pvalue_table_clear(&p->proposals);
    requests_deinit(&p->replica.requests);
}

/* ---- messages ---- */

static void collect(struct paxos *p, uint64_t through)
{
    if (through > p->replica.checkpointed)
        through = p->replica.checkpointed;
    if (through <= p->collect_through)
        return;
    p->collect_through = through;
    outbox_collect(&p->box, through);
}

static void on_p2a(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->p2a.ballot);
    election_follow(p, from, m->p2a.ballot);
    for (uint32_t i = 0; i < m->p2a.count; i++)
        replica_hint_for(&p->replica, m->p2a.pvalues[i].slot, &p->box);
    acceptor_on_p2a(&p->acceptor, from, m, p->replica.decided, &p->box);
    if (p->configuration.members[from] == m->p2a.ballot.leader)
        read_lease_on_p2a(&p->lease, m);
    replica_on_decided(&p->replica, from, m->p2a.ballot, m->p2a.decided_through, &p->box);
}

static void on_p2b(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->p2b.promised);
    if (!paxos_leads(p) || ballot_cmp(m->p2b.asked, p->leader.ballot) != 0)
        return;
    if (ballot_cmp(m->p2b.promised, m->p2b.asked) == 0)
        leader_on_p2b(&p->leader, from, m);
    else
        election_on_preemption(p, m->p2b.promised);
}

/* Who leaves with a change of voters may stop once the leader has heard that most of the new ones
 * know of all decisions before. Nobody else may be left who can tell: they must not forget it. */
static void remember_before_change(struct paxos *p)
{
    uint64_t from = p->configuration.from;
    if (from > 1 && replica_remember(&p->replica, from - 1, &p->box))
        p->told_persist = p->box.persists;
}

/* What the leader is told is decided here: no slot that could be the last before a change which is
 * not yet known here. So whoever says that it knows of all before a change knows of the change. */
static uint64_t decided_to_tell(const struct paxos *p)
{
    uint64_t last = p->replica.applied + WINDOW - 1;
    return p->replica.decided < last ? p->replica.decided : last;
}

static void on_heartbeat(struct paxos *p, uint32_t from, const struct message *m)
{
    struct ballot ballot = m->heartbeat.ballot;
    paxos_saw_round(p, ballot);
    election_follow(p, from, ballot);
    replica_on_decided(&p->replica, from, ballot, m->heartbeat.decided_through, &p->box);
    collect(p, m->heartbeat.collect_through);
    bool is_granted = acceptor_on_heartbeat(&p->acceptor, ballot, p->now_ns, &p->box);
    struct message answer = {.kind = MESSAGE_HEARTBEAT_ACK,
                             .heartbeat_ack = {.ballot = ballot,
                                               .promised = p->acceptor.promised,
                                               .sent_ns = m->heartbeat.sent_ns,
                                               .granted = is_granted,
                                               .decided_through = decided_to_tell(p),
                                               .checkpointed = p->replica.checkpointed,
                                               .wall_ns = p->wall_ns}};
    remember_before_change(p);
    uint64_t after = p->acceptor.first_persist;
    if (p->told_persist > after)
        after = p->told_persist;
    outbox_send_after(&p->box, UINT32_C(1) << from, after, &answer);
}

static void on_heartbeat_ack(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->heartbeat_ack.promised);
    if (!paxos_leads(p) || ballot_cmp(m->heartbeat_ack.ballot, p->leader.ballot) != 0)
        return;
    struct leader_view v = paxos_leader_view(p);
    leader_on_heartbeat_ack(&p->leader, from, m, &v);
    replica_on_others_decided(&p->replica, from, m->heartbeat_ack.decided_through);
    election_on_preemption(p, m->heartbeat_ack.promised);
}

static void on_submit(struct paxos *p, uint32_t from, const struct message *m)
{
    if (!paxos_leads(p))
        return; /* the origin hears of the leader and sends it there */
    for (uint32_t i = 0; i < m->submit.count; i++) {
        if (m->submit.commands[i]->node == p->configuration.members[from])
            intake_put(&p->leader.intake, from, m->submit.commands[i]);
    }
}

static void on_read(struct paxos *p, uint32_t from, const struct message *m)
{
    struct leader_view v = paxos_leader_view(p);
    struct message answer = {.kind = MESSAGE_READ_ACK,
                             .read_ack = {.id = m->read.id,
                                          .slot = p->replica.decided,
                                          .ok = leader_may_serve(&p->leader, &v)}};
    outbox_send(&p->box, UINT32_C(1) << from, &answer);
}

static void on_lease_ask(struct paxos *p, uint32_t from, const struct message *m)
{
    if (!paxos_leads(p) || ballot_cmp(m->lease_ask.ballot, p->leader.ballot) != 0)
        return;
    struct leader_view v = paxos_leader_view(p);
    leader_on_lease_ask(&p->leader, from, m, &v, &p->box);
}

static void on_lease_grant(struct paxos *p, uint32_t from, const struct message *m)
{
    election_follow(p, from, m->lease_grant.ballot);
    bool is_followed = p->leader_index == from && from != p->self &&
                       ballot_cmp(p->following, m->lease_grant.ballot) == 0;
    if (is_followed)
        read_lease_on_grant(&p->lease, m, p->now_ns, &p->box);
}

static void on_lease_ack(struct paxos *p, uint32_t from, const struct message *m)
{
    if (!paxos_leads(p) || ballot_cmp(m->lease_ack.ballot, p->leader.ballot) != 0)
        return;
    read_holders_on_ack(&p->leader.holders, from, m->lease_ack.life, m->lease_ack.through,
                        p->now_ns);
}

static void on_message(struct paxos *p, uint32_t from, const struct message *m)
{
    if (from >= MEMBERS_MAX ||
        p->configuration.members[from] == 0) /* the sender has no seat here */
        return;
    p->heard_ns[from] = p->now_ns;
    switch (m->kind) {
    case MESSAGE_PREVOTE:
    case MESSAGE_PREVOTE_ACK:
    case MESSAGE_P1A:
    case MESSAGE_P1B:
    case MESSAGE_RELEASE:
        election_on_message(p, from, m);
        break;
    case MESSAGE_P2A:
        on_p2a(p, from, m);
        break;
    case MESSAGE_P2B:
        on_p2b(p, from, m);
        break;
    case MESSAGE_DECIDED:
        election_follow(p, from, m->decided.ballot);
        replica_on_decided(&p->replica, from, m->decided.ballot, m->decided.through, &p->box);
        break;
    case MESSAGE_HEARTBEAT:
        on_heartbeat(p, from, m);
        break;
    case MESSAGE_HEARTBEAT_ACK:
        on_heartbeat_ack(p, from, m);
        break;
    case MESSAGE_SUBMIT:
        on_submit(p, from, m);
        break;
    case MESSAGE_READ:
        on_read(p, from, m);
        break;
    case MESSAGE_READ_ACK:
        reader_on_ack(&p->reader, m, p->now_ns, &p->box);
        break;
    case MESSAGE_FETCH:
        replica_on_fetch(&p->replica, from, m, &p->box);
        break;
    case MESSAGE_DECISIONS:
        replica_on_decisions(&p->replica, from, m, &p->box);
        break;
    case MESSAGE_LEASE_ASK:
        on_lease_ask(p, from, m);
        break;
    case MESSAGE_LEASE_GRANT:
        on_lease_grant(p, from, m);
        break;
    case MESSAGE_LEASE_ACK:
        on_lease_ack(p, from, m);
        break;
    case MESSAGE_KIND_COUNT:
        break;
    }
}

/* ---- the other events ---- */

static void on_applied(struct paxos *p, uint64_t applied, uint64_t checkpointed)
{
    replica_on_applied(&p->replica, applied, checkpointed);
    pvalue_table_advance(&p->held, p->replica.applied);
    pvalue_table_advance(&p->proposals, p->replica.applied);
}

static void on_tick(struct paxos *p)
{
    replica_on_tick(&p->replica, p->now_ns);
    election_on_tick(p);
    if (!paxos_leads(p) && p->now_ns > 4 * RETRY_NS)
        requests_resend_old(&p->replica.requests, p->now_ns - 4 * RETRY_NS);
    replica_hint(&p->replica, p->now_ns, &p->box);
    read_lease_on_tick(&p->lease, p->now_ns, &p->box);
}

static void on_installed(struct paxos *p, const struct event *event)
{
    uint64_t slot = event->installed.slot;
    if (p->role != ROLE_FOLLOWER)
        election_resign(p);
    replica_on_installed(&p->replica, slot, event->installed.time_ns, &p->box);
    pvalue_table_advance(&p->held, slot);
    pvalue_table_advance(&p->proposals, slot);
    collect(p, slot);
    read_lease_drop(&p->lease, &p->box);
    paxos_configure(p, event->installed.configuration);
}

static void note_serving(struct paxos *p, bool is_serving)
{
    if (is_serving == p->leader.is_serving)
        return;
    p->leader.is_serving = is_serving;
    outbox_note(&p->box, is_serving ? NOTE_SERVING : NOTE_LEASE_LOST, p->leader.ballot,
                p->replica.decided);
}

static void flush_leader(struct paxos *p)
{
    struct leader_view v = paxos_leader_view(p);
    leader_flush(&p->leader, &v, &p->replica.requests, &p->box);
    bool is_serving = leader_may_serve(&p->leader, &v);
    note_serving(p, is_serving);
    if (is_serving)
        reader_serve(&p->reader, p->replica.decided, &p->box);
}

/* At once: what is held is pending already, though not yet on disk. */
static void acknowledge(struct paxos *p)
{
    uint32_t leader = configuration_seat(&p->configuration, p->lease.ack_ballot.leader);
    if (leader < MEMBERS_MAX && leader != p->self)
        read_lease_acknowledge(&p->lease, &p->held, p->replica.decided, leader, &p->box);
}

static void on_flush(struct paxos *p)
{
    if (paxos_leads(p)) {
        flush_leader(p);
    } else if (p->leader_index < MEMBERS_MAX) {
        replica_forward(&p->replica, p->leader_index, p->now_ns, &p->box);
        reader_flush(&p->reader, p->leader_index, p->now_ns, &p->box);
        if (!replica_needs_snapshot(&p->replica))
            read_lease_ask(&p->lease, p->leader_index, p->following, p->now_ns, &p->box);
    }
    acknowledge(p);
    uint32_t asker = configuration_seat(&p->configuration, p->acceptor.answer_ballot.leader);
    if (asker < MEMBERS_MAX)
        acceptor_flush(&p->acceptor, asker, &p->box);
    replica_fetch(&p->replica, p->leader_index, p->now_ns, &p->box);
}

/* The next decision this node may conclude as the leader; NULL: none. */
static const struct pvalue *next_decision(struct paxos *p)
{
    if (!paxos_leads(p) || p->leader.slot_in <= p->replica.decided + 1)
        return NULL;
    struct leader_view v = paxos_leader_view(p);
    return leader_decision(&p->leader, p->replica.decided + 1, &v, &p->box);
}

/* What several events can make true. */
static void conclude(struct paxos *p)
{
    replica_advance(&p->replica, &p->box);
    const struct pvalue *chosen;
    while ((chosen = next_decision(p)) != NULL) {
        struct pvalue decided = *chosen;
        replica_decide(&p->replica, &decided, &p->box);
    }
    election_check_promise(p);
}

/* Without a seat a node only hears what its own store did. */
static bool is_for_members(enum event_kind kind)
{
    return kind == EVENT_TICK || kind == EVENT_MESSAGE || kind == EVENT_FLUSH ||
           kind == EVENT_HANDOVER;
}

void paxos_step(struct paxos *p, const struct event *event, struct effects *out)
{
    if (event->now_ns > p->now_ns)
        p->now_ns = event->now_ns;
    p->wall_ns = event->wall_ns;
    p->box.out = out;
    replica_advance(&p->replica, &p->box); /* what a restart found decided */
    if (!paxos_has_seat(p) && is_for_members(event->kind))
        return;
    switch (event->kind) {
    case EVENT_TICK:
        on_tick(p);
        break;
    case EVENT_MESSAGE:
        on_message(p, event->message.from, event->message.message);
        break;
    case EVENT_SUBMIT:
        requests_submit(&p->replica.requests, event->submit);
        break;
    case EVENT_READ:
        reader_on_read(&p->reader, event->read);
        break;
    case EVENT_APPLIED:
        on_applied(p, event->applied.applied, event->applied.checkpointed);
        break;
    case EVENT_FLUSH:
        on_flush(p);
        break;
    case EVENT_HANDOVER:
        election_hand_over(p);
        break;
    case EVENT_CONFIGURE:
        paxos_configure(p, event->configure);
        break;
    case EVENT_INSTALLED:
        on_installed(p, event);
        break;
    }
    if (paxos_has_seat(p))
        conclude(p);
}

void paxos_view(const struct paxos *p, struct paxos_view *view)
{
    struct leader_view v = paxos_leader_view(p);
    bool has_leader = p->leader_index < MEMBERS_MAX;
    *view = (struct paxos_view){
        .role = p->role,
        .ballot = p->following,
        .leader = has_leader ? p->configuration.members[p->leader_index] : 0,
        .promised = p->acceptor.promised,
        .decided = p->replica.decided,
        .applied = p->replica.applied,
        .slot_in = paxos_leads(p) ? p->leader.slot_in : 0,
        .serving_until_ns =
            leader_may_serve(&p->leader, &v) ? leader_lease_until_ns(&p->leader, &v) : 0,
        .collect_through = p->collect_through,
        .submits = p->replica.requests.count,
        .slots_held = p->held.count,
        .bytes_held = p->held.bytes,
        .configuration = p->configuration,
        .needs_snapshot = replica_needs_snapshot(&p->replica),
    };
    if (read_lease_is_valid(&p->lease, p->now_ns)) {
        view->lease.until_ns = p->lease.until_ns;
        view->lease.bound = p->lease.bound;
    }
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        view->members[i].decided = p->leader.members_decided[i];
        view->members[i].checkpointed = p->leader.members_checkpointed[i];
        view->members[i].heard_ns = p->heard_ns[i];
        view->members[i].lease_until_ns = p->leader.holders.at[i].until_ns;
    }
}

/* consensus/election.c: who leads: the detector, the scout and the lease together (PMMC §3). */
#include "base/assert.h"
#include "consensus/paxos_node.h"

#define PHASE1_NS (1000 * NS_PER_MS) /* a scout that takes longer starts anew */

/* Slots that a candidate may lack. A leader proposes nothing before it has fetched them: with more,
 * all would wait for it, while whoever has them could lead at once. */
enum { LACKING_MAX = WINDOW };

void paxos_saw_round(struct paxos *p, struct ballot ballot)
{
    if (ballot.round > p->round_max)
        p->round_max = ballot.round;
}

struct leader_view paxos_leader_view(const struct paxos *p)
{
    return (struct leader_view){.decided = p->replica.decided,
                                .applied = p->replica.applied,
                                .now_ns = p->now_ns,
                                .wall_ns = p->wall_ns,
                                .configuration = &p->configuration,
                                .promised = p->scout.done,
                                .self = p->self};
}

/* What this node could propose in: who governs the slots after these it does not know yet. */
struct in_play paxos_in_play(const struct paxos *p)
{
    uint64_t first = p->replica.decided + 1, last = p->replica.applied + WINDOW;
    return (struct in_play){&p->configuration, first, last > first ? last : first};
}

/* A voter that can do the work. */
static bool may_run(const struct paxos *p)
{
    const struct configuration *c = &p->configuration;
    uint32_t voters = configuration_voters(c, p->replica.decided + 1) | c->voters;
    return (voters & UINT32_C(1) << p->self) && !replica_needs_snapshot(&p->replica) &&
           !replica_is_stuck(&p->replica);
}

/* Neither leads nor wants to. */
static void stand_back(struct paxos *p)
{
    if (paxos_leads(p)) {
        leader_stop(&p->leader);
        p->leader_index = MEMBERS_MAX;
        requests_resend_all(&p->replica.requests);
        reader_restart(&p->reader);
    }
    scout_stop(&p->scout);
    pvalue_table_clear(&p->proposals);
    p->role = ROLE_FOLLOWER;
}

/* Lead no longer, then let the acceptors promise @successor although the leases still run. Whoever
 * is elected early must know the read leases that are out. */
static void release(struct paxos *p, struct ballot successor)
{
    struct message m = {.kind = MESSAGE_RELEASE,
                        .release = {.ballot = p->leader.ballot, .successor = successor}};
    read_holders_tell(&p->leader.holders, &p->configuration, p->self, p->now_ns, &m, &p->box);
    stand_back(p);
    lease_release(&p->acceptor.lease, &m, p->now_ns);
    outbox_send(&p->box, p->box.others, &m);
}

/* PMMC: a preempted leader does not run again at once; it waits for the detector. What leases it
 * got would keep the winner waiting: of two candidates at the same moment one leads, until it finds
 * that the other has promised itself more. */
static void lose(struct paxos *p, struct ballot to)
{
    outbox_note(&p->box, NOTE_PREEMPTED, to, 0);
    if (paxos_leads(p))
        release(p, to);
    else
        stand_back(p);
    detector_lost(&p->detector, p->now_ns);
}

static bool lacks_much(uint64_t decided, uint64_t decided_elsewhere)
{
    return decided_elsewhere > decided && decided_elsewhere - decided > LACKING_MAX;
}

static struct ballot next_ballot(const struct paxos *p, uint32_t member)
{
    uint64_t round = p->round_max;
    if (p->acceptor.promised.round > round)
        round = p->acceptor.promised.round;
    ASSERT(round <
           2 * ROUND_MAX); /* messages bring at most ROUND_MAX, and each election one more */
    return (struct ballot){round + 1, p->configuration.members[member]};
}

static void ask_for_votes(struct paxos *p)
{
    if (p->role == ROLE_FOLLOWER) {
        outbox_note(&p->box, NOTE_SUSPECT, p->following, 0);
        p->role = ROLE_CANDIDATE;
        p->leader_index = MEMBERS_MAX;
    }
    scout_prevote(&p->scout, next_ballot(p, p->self), p->replica.decided, p->now_ns, &p->box);
    detector_wait_briefly(&p->detector, p->now_ns);
}

/* Who may not run asks the same question: the answers tell what was decided, and from whom it can
 * be fetched, also where the leader is a node that this one has not heard of yet. */
static void ask_what_was_decided(struct paxos *p)
{
    if (p->leader_index < MEMBERS_MAX)
        outbox_note(&p->box, NOTE_SUSPECT, p->following, 0);
    p->leader_index = MEMBERS_MAX;
    struct message m = {
        .kind = MESSAGE_PREVOTE,
        .prevote = {.ballot = next_ballot(p, p->self), .decided = p->replica.decided}};
    outbox_send(&p->box, p->box.others, &m);
    detector_wait(&p->detector, p->now_ns);
}

/* Take @ballot, which no life of this node has used: it is above every promise, and it is promised,
 * durably, before the first p1a leaves. */
static void run_for(struct paxos *p, struct ballot ballot)
{
    ASSERT(ballot.leader == p->configuration.members[p->self]);
    if (!acceptor_promise(&p->acceptor, ballot, p->now_ns, &p->box))
        return;
    p->role = ROLE_CANDIDATE;
    paxos_saw_round(p, ballot);
    outbox_note(&p->box, NOTE_CANDIDATE, ballot, 0);
    scout_begin(&p->scout, ballot, p->replica.decided, p->now_ns, &p->box);
}

/* The read leases that acceptors told of: this leader must respect them. */
static void inherit(struct paxos *p)
{
    const struct scout *s = &p->scout;
    struct read_holders *h = &p->leader.holders;
    for (uint32_t i = 0; i < s->reader_count; i++) {
        const struct lease_reader *r = &s->readers[i];
        if (r->node == p->config.node && r->life == p->config.life)
            continue; /* its own, dropped */
        bool is_own = r->node == p->config.node;
        uint32_t seat = is_own ? MEMBERS_MAX : configuration_seat(&p->configuration, r->node);
        if (r->until_ns > p->now_ns)
            read_holders_inherit(h, seat, r->life, r->until_ns);
    }
    if (s->readers_until_ns > p->now_ns)
        read_holders_inherit(h, MEMBERS_MAX, 0, s->readers_until_ns);
}

/* Its scout was adopted. */
static void become_leader(struct paxos *p)
{
    struct scout *s = &p->scout;
    replica_on_others_decided(&p->replica, s->collected_by, s->collected);
    if (lacks_much(p->replica.decided, s->collected)) { /* its prevotes came from others */
        stand_back(p);
        detector_lost(&p->detector, p->now_ns);
        return;
    }
    scout_go_on(s);
    p->role = ROLE_LEADER;
    p->following = s->ballot;
    p->leader_index = p->self;
    requests_resend_all(&p->replica.requests);
    reader_restart(&p->reader);
    read_lease_drop(&p->lease, &p->box); /* it serves as the leader */
    struct leader_view v = paxos_leader_view(p);
    leader_start(&p->leader, s->ballot, s->collected, p->replica.time_ns, &v, &p->box);
    inherit(p);
    outbox_note(&p->box, NOTE_LEADER, s->ballot, p->leader.adopted);
}

void election_follow(struct paxos *p, uint32_t from, struct ballot ballot)
{
    int order = ballot_cmp(ballot, p->following);
    if (order < 0 || from == p->self || p->configuration.members[from] != ballot.leader)
        return;
    if (paxos_leads(p)) /* it was adopted, so this one no longer is */
        lose(p, ballot);
    if (p->scout.phase == SCOUT_PHASE1 && ballot_cmp(ballot, p->scout.ballot) > 0)
        lose(p, ballot);
    if (p->scout.phase == SCOUT_PREVOTE)
        stand_back(p);
    detector_heard(&p->detector, p->now_ns);
    if (order == 0 && p->leader_index == from)
        return;
    p->following = ballot;
    p->leader_index = from;
    requests_resend_all(&p->replica.requests);
    reader_restart(&p->reader);
    p->lease.ask_ns = p->now_ns;
    outbox_note(&p->box, NOTE_FOLLOWING, ballot, 0);
}

/* ---- hand-over ---- */

static void hand_over_to(struct paxos *p, uint32_t successor)
{
    struct ballot next = next_ballot(p, successor);
    outbox_note(&p->box, NOTE_HANDOVER, next, 0);
    release(p, next);
    detector_wait(&p->detector, p->now_ns);
    paxos_saw_round(p, next);
    if (successor == p->self)
        run_for(p, next);
}

void election_on_preemption(struct paxos *p, struct ballot ballot)
{
    paxos_saw_round(p, ballot);
    if (ballot_cmp(ballot, p->leader.ballot) <= 0)
        return;
    /* Under a majority's leases no higher ballot can have been adopted: an acceptor came back with
     * a promise that led nowhere. It cannot vote until the ballot is higher than that. */
    struct leader_view v = paxos_leader_view(p);
    if (p->now_ns < leader_lease_until_ns(&p->leader, &v) && may_run(p))
        hand_over_to(p, p->self);
    else
        lose(p, ballot);
}

void election_check_promise(struct paxos *p)
{
    struct ballot promised = p->acceptor.promised;
    if (paxos_leads(p) && ballot_cmp(promised, p->leader.ballot) > 0)
        lose(p, promised);
    if (p->scout.phase == SCOUT_PHASE1 && ballot_cmp(promised, p->scout.ballot) > 0)
        lose(p, promised);
}

static bool is_connected(const struct paxos *p, uint32_t member)
{
    return p->heard_ns[member] != 0 && p->now_ns - p->heard_ns[member] <= 3 * HEARTBEAT_NS;
}

/* Who is new to the voters may not have applied the change: then it would not take over, while the
 * others wait for it. See decided_to_tell() in paxos.c. */
static bool knows_its_vote(const struct paxos *p, uint32_t member)
{
    const struct configuration *c = &p->configuration;
    return (c->voters_before >> member & 1) || p->leader.members_decided[member] + 1 >= c->from;
}

/* The best other voter of the newest configuration; MEMBERS_MAX: none can take over. */
static uint32_t choose_successor(const struct paxos *p)
{
    const uint64_t *decided = p->leader.members_decided;
    uint32_t best = MEMBERS_MAX;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        bool is_voter = p->configuration.voters & UINT32_C(1) << i;
        if (!is_voter || i == p->self || !is_connected(p, i) || !knows_its_vote(p, i) ||
            lacks_much(decided[i], p->replica.decided))
            continue;
        if (best == MEMBERS_MAX || decided[i] > decided[best])
            best = i;
    }
    return best;
}

void election_hand_over(struct paxos *p)
{
    uint32_t best = paxos_leads(p) ? choose_successor(p) : MEMBERS_MAX;
    if (best < MEMBERS_MAX)
        hand_over_to(p, best);
}

void election_resign(struct paxos *p)
{
    election_hand_over(p);
    stand_back(p);
}

void election_on_configuration(struct paxos *p)
{
    if (p->scout.phase != SCOUT_PHASE1 && p->scout.phase != SCOUT_LEADING)
        return;
    struct in_play play = paxos_in_play(p);
    p->scout.retry_ns = p->now_ns;
    scout_on_tick(&p->scout, &play, p->now_ns, &p->box);
}

static void on_release(struct paxos *p, uint32_t from, const struct message *m)
{
    struct ballot successor = m->release.successor;
    if (p->configuration.members[from] != m->release.ballot.leader)
        return;
    lease_release(&p->acceptor.lease, m, p->now_ns);
    paxos_saw_round(p, successor);
    if (p->leader_index == from && ballot_cmp(p->following, m->release.ballot) == 0)
        p->leader_index = MEMBERS_MAX;
    detector_wait(&p->detector, p->now_ns);
    bool is_mine = successor.leader == p->configuration.members[p->self];
    if (is_mine && !paxos_leads(p) && p->scout.phase != SCOUT_PHASE1 && may_run(p))
        run_for(p, successor);
}

/* ---- messages and time ---- */

static void on_prevote(struct paxos *p, uint32_t from, const struct message *m)
{
    struct ballot ballot = m->prevote.ballot;
    uint64_t decided = p->replica.decided;
    bool would_promise = acceptor_would_promise(&p->acceptor, ballot, p->now_ns) &&
                         !lacks_much(m->prevote.decided, decided);
    struct message answer = {.kind = MESSAGE_PREVOTE_ACK,
                             .prevote_ack = {.ballot = ballot,
                                             .promised = p->acceptor.promised,
                                             .decided = decided,
                                             .would_promise = would_promise}};
    outbox_send(&p->box, UINT32_C(1) << from, &answer);
}

static void on_prevote_ack(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->prevote_ack.promised);
    replica_on_others_decided(&p->replica, from, m->prevote_ack.decided);
    struct in_play play = paxos_in_play(p);
    if (scout_on_prevote_ack(&p->scout, from, m, &play) == SCOUT_WON)
        run_for(p, p->scout.ballot);
}

static void on_p1a(struct paxos *p, uint32_t from, const struct message *m)
{
    struct ballot before = p->acceptor.promised;
    paxos_saw_round(p, m->p1a.ballot);
    acceptor_on_p1a(&p->acceptor, from, m, p->replica.decided, p->now_ns, &p->box);
    bool is_promised = ballot_cmp(before, p->acceptor.promised) != 0;
    if (is_promised && from != p->self)
        detector_wait(&p->detector, p->now_ns); /* let it win */
}

/* A voter that is to come reports while this node leads. */
static void on_late_p1b(struct paxos *p, uint32_t from, const struct message *m)
{
    struct scout *s = &p->scout;
    struct in_play play = paxos_in_play(p);
    s->proposed = p->leader.slot_in - 1;
    s->reported = 0;
    if (scout_on_p1b(s, from, m, &play, p->now_ns, &p->box) == SCOUT_LOST) {
        election_on_preemption(p, m->p1b.promised);
        return;
    }
    leader_on_report(&p->leader, s->collected, s->reported);
    replica_on_others_decided(&p->replica, s->collected_by, s->collected);
    inherit(p);
}

static void on_p1b(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->p1b.promised);
    if (paxos_leads(p)) {
        on_late_p1b(p, from, m);
        return;
    }
    struct in_play play = paxos_in_play(p);
    enum scout_verdict verdict = scout_on_p1b(&p->scout, from, m, &play, p->now_ns, &p->box);
    if (verdict == SCOUT_WON)
        become_leader(p);
    else if (verdict == SCOUT_LOST)
        lose(p, m->p1b.promised);
    else if (p->scout.phase == SCOUT_PHASE1) /* pages that do not fit fit once this is caught up */
        replica_on_others_decided(&p->replica, p->scout.collected_by, p->scout.collected);
}

void election_on_message(struct paxos *p, uint32_t from, const struct message *m)
{
    if (m->kind == MESSAGE_PREVOTE)
        on_prevote(p, from, m);
    else if (m->kind == MESSAGE_PREVOTE_ACK)
        on_prevote_ack(p, from, m);
    else if (m->kind == MESSAGE_P1A)
        on_p1a(p, from, m);
    else if (m->kind == MESSAGE_P1B)
        on_p1b(p, from, m);
    else if (m->kind == MESSAGE_RELEASE)
        on_release(p, from, m);
}

static void lead_on(struct paxos *p)
{
    struct leader_view v = paxos_leader_view(p);
    if (replica_is_stuck(&p->replica) || leader_is_done(&v))
        election_hand_over(p);
    if (replica_needs_snapshot(&p->replica))
        election_resign(p);
    if (!paxos_leads(p))
        return;
    if (leader_on_tick(&p->leader, &v, &p->box)) {
        struct in_play play = paxos_in_play(p);
        scout_on_tick(&p->scout, &play, p->now_ns, &p->box);
        return;
    }
    outbox_note(&p->box, NOTE_LEASE_LOST, p->leader.ballot, 0);
    stand_back(p); /* whoever hears it still would wait for it for ever */
    detector_lost(&p->detector, p->now_ns);
}

void election_on_tick(struct paxos *p)
{
    if (paxos_leads(p)) {
        lead_on(p);
        return;
    }
    bool is_suspicious = detector_suspects(&p->detector, p->now_ns);
    if (!may_run(p)) {
        stand_back(p);
        if (is_suspicious && !replica_is_stuck(&p->replica))
            ask_what_was_decided(p);
        return;
    }
    if (p->scout.phase == SCOUT_PHASE1) {
        if (p->now_ns - p->scout.started_ns < PHASE1_NS) {
            struct in_play play = paxos_in_play(p);
            scout_on_tick(&p->scout, &play, p->now_ns, &p->box);
            return;
        }
        stand_back(p);
        detector_lost(&p->detector, p->now_ns);
    }
    if (is_suspicious)
        ask_for_votes(p);
}

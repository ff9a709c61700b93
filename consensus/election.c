/* consensus/election.c: who leads: the detector, the scout and the lease together (PMMC §3). */
#include "base/assert.h"
#include "consensus/paxos_node.h"

#define PHASE1_NS (1000 * NS_PER_MS) /* a scout that takes longer starts anew */

/* Slots that a candidate may lack. A leader proposes nothing before it has fetched them: with more,
 * all would wait for it, while whoever has them could lead at once. */
enum { LACKING_MAX = WINDOW };

uint32_t paxos_member(const struct paxos *p, uint64_t node)
{
    uint32_t i = 0;
    while (i < p->member_count && p->configuration.members[i] != node)
        i++;
    return i;
}

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
                                .collect_through = leader_collect_through(&p->leader)};
}

/* Neither leads nor wants to. */
static void stand_back(struct paxos *p)
{
    if (paxos_leads(p)) {
        leader_stop(&p->leader);
        p->leader_index = p->member_count;
        requests_resend_all(&p->replica.requests);
        reader_restart(&p->reader);
    }
    scout_stop(&p->scout);
    pvalue_table_clear(&p->proposals);
    p->role = ROLE_FOLLOWER;
}

/* Lead no longer, then let the acceptors promise @successor although the leases still run. */
static void release(struct paxos *p, struct ballot successor)
{
    struct ballot old = p->leader.ballot;
    stand_back(p);
    lease_release(&p->acceptor.lease, old, successor);
    struct message m = {.kind = MESSAGE_RELEASE,
                        .release = {.ballot = old, .successor = successor}};
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
        p->leader_index = p->member_count;
    }
    scout_prevote(&p->scout, next_ballot(p, p->self), p->replica.decided, p->now_ns,
                  &p->box);
    detector_wait_briefly(&p->detector, p->now_ns);
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
    scout_stop(s);
    p->role = ROLE_LEADER;
    p->following = s->ballot;
    p->leader_index = p->self;
    requests_resend_all(&p->replica.requests);
    reader_restart(&p->reader);
    struct leader_view v = paxos_leader_view(p);
    leader_start(&p->leader, s->ballot, s->collected, p->replica.time_ns, &v, &p->box);
    outbox_note(&p->box, NOTE_LEADER, s->ballot, p->leader.adopted);
}

void election_follow(struct paxos *p, uint32_t from, struct ballot ballot)
{
    int order = ballot_cmp(ballot, p->following);
    if (order < 0 || from == p->self || from != paxos_member(p, ballot.leader))
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
    if (p->now_ns < p->leader.lease_until_ns)
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

void election_hand_over(struct paxos *p)
{
    if (!paxos_leads(p))
        return;
    uint32_t best = p->member_count;
    for (uint32_t i = 0; i < p->member_count; i++) {
        const uint64_t *decided = p->leader.members_decided;
        if (i == p->self || !is_connected(p, i) ||
            lacks_much(decided[i], p->replica.decided))
            continue;
        if (best == p->member_count || decided[i] > decided[best])
            best = i;
    }
    if (best < p->member_count)
        hand_over_to(p, best);
}

static void on_release(struct paxos *p, uint32_t from, const struct message *m)
{
    struct ballot successor = m->release.successor;
    if (from != paxos_member(p, m->release.ballot.leader))
        return;
    lease_release(&p->acceptor.lease, m->release.ballot, successor);
    paxos_saw_round(p, successor);
    if (p->leader_index == from && ballot_cmp(p->following, m->release.ballot) == 0)
        p->leader_index = p->member_count;
    detector_wait(&p->detector, p->now_ns);
    bool is_mine = successor.leader == p->configuration.members[p->self];
    if (is_mine && !paxos_leads(p) && p->scout.phase != SCOUT_PHASE1 &&
        !replica_is_stuck(&p->replica))
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
    if (scout_on_prevote_ack(&p->scout, from, m) == SCOUT_WON)
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

static void on_p1b(struct paxos *p, uint32_t from, const struct message *m)
{
    paxos_saw_round(p, m->p1b.promised);
    enum scout_verdict verdict = scout_on_p1b(&p->scout, from, m, &p->box);
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
    if (replica_is_stuck(&p->replica)) {
        election_hand_over(p);
        if (!paxos_leads(p))
            return;
    }
    struct leader_view v = paxos_leader_view(p);
    if (leader_on_tick(&p->leader, &v, &p->box))
        return;
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
    if (replica_is_stuck(&p->replica)) { /* it could propose no more than a window */
        stand_back(p);
        return;
    }
    if (p->scout.phase == SCOUT_PHASE1) {
        if (p->now_ns - p->scout.started_ns < PHASE1_NS) {
            scout_on_tick(&p->scout, p->now_ns, &p->box);
            return;
        }
        stand_back(p);
        detector_lost(&p->detector, p->now_ns);
    }
    if (detector_suspects(&p->detector, p->now_ns))
        ask_for_votes(p);
}

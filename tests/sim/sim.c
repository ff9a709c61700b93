/* tests/sim/sim.c: random histories of a simulated cluster, one per seed.
 *
 *   sim                                  the seeds that once found a bug, then a default sweep
 *   sim --seed X [--count N]             N histories from seed X on
 *   sim --seconds S [--seed X]           as many as fit
 *   sim --profile swarm|dense|crash|network|lease|delay|burst|members|snapshots|
 *                 reads
 *   sim --seed X --trace                 one history, with its last events
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/cluster_sim.h"

enum { DEFAULT_COUNT = 3000 };
#define DEFAULT_SEED UINT64_C(0x9e3779b97f4a7c15)
#define SETTLE_NS    (12 * NS_PER_S) /* after the faults everything outstanding is done within */

/* Faults a history may have; each seed turns some on (swarm testing, Groce et al. 2012). */
enum fault {
    CRASH,
    CRASH_ALL,
    PAUSE,
    CUT_ONE_WAY,
    ISOLATE,
    PARTITION,
    SLOW_DISK,
    HAND_OVER,
    WALL,
    RESTART_AND_CUT,
    HANG_STORE,
    PAUSE_HOLDER, /* of a read lease, for about as long as it lasts */
    HAND_ON,      /* leadership goes round, again and again */
    ADD,
    REMOVE,
    REPLACE,
    CUT_AT_CHANGE, /* the voters change, and the network parts before they do */
    LOSE,          /* a host and its disk, for ever */
    TINY_LOGS,     /* from the start on: who lags needs a snapshot */
    EXPIRE,        /* from the start on: the sessions of the silent end */
    FAULTS
};

enum { MEMBER_FAULTS = 1 << ADD | 1 << REMOVE | 1 << REPLACE | 1 << LOSE | 1 << CUT_AT_CHANGE };

struct profile {
    const char *name;
    uint32_t faults;   /* mask that may be on */
    bool all_on;       /* no coin */
    uint64_t fault_ns; /* mean time between faults */
};

static const struct profile profiles[] = {
    {"swarm", (1 << FAULTS) - 1, false, 300 * NS_PER_MS},
    {"crash", 1 << CRASH | 1 << CRASH_ALL | 1 << SLOW_DISK, true, 150 * NS_PER_MS},
    {"network", 1 << CUT_ONE_WAY | 1 << ISOLATE | 1 << PARTITION | 1 << HAND_OVER, true,
     200 * NS_PER_MS},
    {"dense", (1 << FAULTS) - 1, false, 150 * NS_PER_MS},
    {"lease", 1 << PAUSE | 1 << ISOLATE | 1 << CRASH | 1 << HAND_OVER | 1 << RESTART_AND_CUT, true,
     250 * NS_PER_MS},
    {"delay", 1 << ISOLATE | 1 << HAND_OVER | 1 << PAUSE | 1 << CRASH, true, 250 * NS_PER_MS},
    {"burst", 1 << CRASH | 1 << PAUSE | 1 << ISOLATE, true, 300 * NS_PER_MS},
    {"members",
     MEMBER_FAULTS | 1 << HAND_ON | 1 << CRASH | 1 << ISOLATE | 1 << PARTITION | 1 << EXPIRE, true,
     250 * NS_PER_MS},
    {"snapshots",
     1 << TINY_LOGS | 1 << CRASH | 1 << ISOLATE | 1 << PAUSE | 1 << ADD | 1 << REPLACE |
         1 << EXPIRE,
     true, 400 * NS_PER_MS},
    {"reads",
     1 << PAUSE_HOLDER | 1 << HAND_ON | 1 << HAND_OVER | 1 << ISOLATE | 1 << CUT_ONE_WAY |
         1 << CRASH,
     true, 250 * NS_PER_MS},
};

/* Seeds that found a bug, with the profile that did; always run first. */
static const struct {
    uint64_t seed;
    const char *profile;
} found[] = {
    {0x133, "crash"},                /* a checkpoint durable before the log */
    {0x7777002f, "delay"},           /* the open of a former life came late */
    {0x00202611220012a9, "members"}, /* away while all it knew were replaced */
    {0x18b, "members"},              /* who left was the last to know what the old voters decided */
};

struct history {
    struct cluster *c;
    struct prng prng;
    uint32_t nodes, faults;
    uint32_t hung; /* this one's store, while the others are to go on */
    uint32_t lost; /* this one's host, for ever; MEMBERS_MAX: none since the last one was removed */
    uint32_t doomed; /* mask of nodes that were ever to be removed or replaced */
    uint64_t fault_ns;
};

static uint64_t current_seed;
static const struct profile *current_profile;
static char program[256];
static uint64_t settle_ns_max;

static void print_replay(void)
{
    char line[512];
    int size =
        snprintf(line, sizeof line, "replay: %s --seed 0x%016" PRIx64 " --profile %s --trace\n",
                 program, current_seed, current_profile->name);
    ssize_t written = write(STDERR_FILENO, line, (size_t)size);
    (void)written;
}

static void on_abort(int signal_number)
{
    (void)signal_number;
    print_replay();
    _exit(3);
}

static bool coin(struct history *h, uint64_t in)
{
    return prng_below(&h->prng, in) == 0;
}

static struct cluster_options choose_options(struct history *h, bool trace)
{
    static const uint32_t sizes[] = {1, 3, 3, 3, 3, 5, 5, 2, 4};
    struct prng *r = &h->prng;
    h->nodes = sizes[prng_below(r, ARRAY_COUNT(sizes))];
    struct cluster_options o = {.nodes = h->nodes, .seed = prng_next(r), .trace = trace};
    o.delay_ns_min = 50000;
    o.delay_ns_max = coin(h, 2) ? 50000 : 50000 + prng_below(r, 20 * NS_PER_MS);
    o.loss_permille = coin(h, 2) ? 0 : (uint32_t)prng_below(r, 200);
    o.duplicate_permille = coin(h, 2) ? 0 : (uint32_t)prng_below(r, 200);
    o.spike_permille = coin(h, 2) ? 0 : (uint32_t)prng_below(r, 100);
    o.spike_ns = prng_below(r, 3 * NS_PER_S);
    o.sync_ns_min = 100000;
    o.sync_ns_max = coin(h, 2) ? 200000 : prng_below(r, 60 * NS_PER_MS) + 200000;
    o.apply_ns_max = coin(h, 2) ? 100000 : prng_below(r, 300 * NS_PER_MS) + 1;
    o.client_ns = NS_PER_MS + prng_below(r, 100 * NS_PER_MS);
    o.outstanding_max = 1 + (uint32_t)prng_below(r, 60);
    o.padding_max = coin(h, 8) ? (uint32_t)prng_below(r, 400000) : 0;
    if (o.padding_max)
        o.client_ns += 50 * NS_PER_MS; /* the simulated logs keep it all */
    if (h->faults >> TINY_LOGS & 1)
        o.log_slots_max = 1 + (uint32_t)prng_below(r, 200);
    if (h->faults >> EXPIRE & 1)
        o.silence_ns = NS_PER_S / 2 + prng_below(r, 3 * NS_PER_S);
    o.clocks_drift = coin(h, 2);
    o.walls_jump = coin(h, 2);
    if (strcmp(current_profile->name, "burst") == 0) {
        o.client_ns = 30000;
        o.padding_max = 0;
        o.apply_ns_max = 100000; /* a slow store would only be slow to catch up */
        o.outstanding_max = 200;
    }
    if (strcmp(current_profile->name, "delay") == 0) {
        o.spike_permille = 150;
        o.spike_ns = 1500 * NS_PER_MS;
    }
    return o;
}

static uint32_t any_node(struct history *h)
{
    return (uint32_t)prng_below(&h->prng, cluster_count(h->c));
}

static void partition(struct history *h)
{
    uint64_t side = prng_next(&h->prng);
    for (uint32_t i = 0; i < cluster_count(h->c); i++) {
        for (uint32_t j = 0; j < cluster_count(h->c); j++)
            cluster_cut(h->c, i, j, (side >> i & 1) != (side >> j & 1));
    }
}

static void crash_all(struct history *h)
{
    for (uint32_t i = 0; i < cluster_count(h->c); i++)
        cluster_crash(h->c, i);
}

static uint32_t leader_or_any(struct history *h)
{
    uint32_t leader = cluster_leader(h->c);
    bool any = leader == cluster_count(h->c) || coin(h, 2);
    return any ? any_node(h) : leader;
}

static bool is_syncing(const struct cluster *c, const void *context)
{
    return cluster_is_syncing(c, *(const uint32_t *)context);
}

/* Half of the crashes come while a sync is under way: that is when something can get lost. */
static void crash(struct history *h, uint32_t node)
{
    if (coin(h, 2) && cluster_is_up(h->c, node))
        cluster_run_until(h->c, 200 * NS_PER_MS, is_syncing, &node);
    cluster_crash(h->c, node);
}

static void restart_and_cut(struct history *h)
{
    uint32_t leader = cluster_leader(h->c);
    uint32_t node = any_node(h);
    if (leader == cluster_count(h->c) || leader == node)
        return;
    cluster_crash(h->c, node);
    cluster_run(h->c, prng_below(&h->prng, 300 * NS_PER_MS));
    cluster_restart(h->c, node);
    cluster_isolate(h->c, leader, true);
    cluster_run(h->c, prng_below(&h->prng, NS_PER_S));
}

static void pause_holder(struct history *h)
{
    for (uint32_t i = 0; i < cluster_count(h->c); i++) {
        if (cluster_view(h->c, i).lease.until_ns != 0 && coin(h, 2))
            cluster_pause(h->c, i, prng_below(&h->prng, NS_PER_S));
    }
}

static void hand_on(struct history *h)
{
    for (uint64_t i = prng_below(&h->prng, 5); i > 0; i--) {
        uint32_t leader = cluster_leader(h->c);
        if (leader < cluster_count(h->c))
            cluster_hand_over(h->c, leader);
        cluster_run(h->c, prng_below(&h->prng, 200 * NS_PER_MS));
    }
}

/* ---- members: whatever is under way, a majority of voters stays that can be up at the end ---- */

/* Once a host is lost there must be two more voters that stay, in whatever order the changes come.
 */
static bool may_lose_one(const struct history *h, uint32_t lost, uint32_t doomed)
{
    const struct membership *m = cluster_membership(h->c);
    uint32_t stay = 0, stayed = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (m->members[i].node == 0)
            continue;
        uint32_t node = cluster_node_of(h->c, m->members[i].node);
        bool counts = node != lost && !(doomed >> node & 1);
        stay += counts && m->members[i].role == MEMBER_VOTER;
        stayed += counts && m->members[i].was_voter;
    }
    return stay >= 2 && stayed >= 2;
}

static bool is_voter(const struct history *h, uint32_t node)
{
    const struct membership *m = cluster_membership(h->c);
    uint32_t seat = membership_seat(m, cluster_id(h->c, node));
    return seat < MEMBERS_MAX && m->members[seat].role == MEMBER_VOTER;
}

static void forget_lost(struct history *h)
{
    if (h->lost < MEMBERS_MAX &&
        membership_has_retired(cluster_membership(h->c), cluster_id(h->c, h->lost)))
        h->lost = MEMBERS_MAX;
}

static void lose(struct history *h, uint32_t node)
{
    forget_lost(h);
    bool is_first = h->lost == MEMBERS_MAX && is_voter(h, node) && !cluster_is_gone(h->c, node);
    if (!is_first || !may_lose_one(h, node, h->doomed))
        return;
    h->lost = node;
    cluster_lose(h->c, node);
}

static bool may_go(struct history *h, uint32_t node)
{
    forget_lost(h);
    bool is_safe =
        h->lost == MEMBERS_MAX || may_lose_one(h, h->lost, h->doomed | UINT32_C(1) << node);
    return is_safe && !(h->doomed >> node & 1);
}

static uint32_t lost_or(struct history *h, uint32_t node)
{
    forget_lost(h);
    return h->lost < MEMBERS_MAX && coin(h, 2) ? h->lost : node;
}

static void remove_node(struct history *h, uint32_t node)
{
    node = lost_or(h, node);
    if (may_go(h, node) && cluster_remove(h->c, any_node(h), node))
        h->doomed |= UINT32_C(1) << node;
}

static uint32_t member_count(const struct history *h)
{
    const struct membership *m = cluster_membership(h->c);
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        count += m->members[i].node != 0;
    return count;
}

static void add_node(struct history *h, uint32_t replaces)
{
    if (member_count(h) < VOTERS_MAX && !cluster_is_joining(h->c))
        cluster_add(h->c, replaces);
}

static void replace_node(struct history *h, uint32_t node)
{
    node = lost_or(h, node);
    if (!may_go(h, node) || !is_voter(h, node) || cluster_is_joining(h->c))
        return;
    h->doomed |= UINT32_C(1) << node;
    add_node(h, node);
}

static bool is_changing(const struct cluster *c, const void *context)
{
    (void)context;
    return cluster_membership(c)->from > cluster_decided(c);
}

/* One more, or another one in the leader's place; then a cut anywhere before the new ones govern.
 */
static void cut_at_change(struct history *h)
{
    uint32_t leader = cluster_leader(h->c);
    if (leader < cluster_count(h->c) && coin(h, 2))
        replace_node(h, leader);
    else
        add_node(h, MEMBERS_MAX);
    if (!cluster_run_until(h->c, 2 * NS_PER_S, is_changing, NULL))
        return;
    cluster_run(h->c, prng_below(&h->prng, 20 * NS_PER_MS));
    partition(h);
    cluster_run(h->c, prng_below(&h->prng, 2 * NS_PER_S));
}

static void inject(struct history *h, enum fault fault)
{
    struct prng *r = &h->prng;
    uint32_t node = leader_or_any(h), other = any_node(h);
    switch (fault) {
    case CRASH:
        crash(h, node);
        break;
    case CRASH_ALL:
        if (coin(h, 4))
            crash_all(h);
        break;
    case PAUSE:
        cluster_pause(h->c, node, prng_below(r, 3 * NS_PER_S));
        break;
    case CUT_ONE_WAY:
        cluster_cut(h->c, node, other, true);
        break;
    case ISOLATE:
        cluster_isolate(h->c, node, true);
        break;
    case PARTITION:
        partition(h);
        break;
    case SLOW_DISK:
        cluster_slow_disk(h->c, node, coin(h, 2) ? 0 : prng_below(r, 1500 * NS_PER_MS));
        break;
    case HAND_OVER:
        cluster_hand_over(h->c, node);
        break;
    case WALL:
        cluster_jump_wall(h->c, node,
                          (int64_t)prng_below(r, 4 * NS_PER_S) - (int64_t)(2 * NS_PER_S));
        break;
    case RESTART_AND_CUT:
        restart_and_cut(h);
        break;
    case HANG_STORE:
        cluster_hang_store(h->c, node, prng_below(r, 5 * NS_PER_S));
        break;
    case PAUSE_HOLDER:
        pause_holder(h);
        break;
    case HAND_ON:
        hand_on(h);
        break;
    case ADD:
        add_node(h, MEMBERS_MAX);
        break;
    case REMOVE:
        remove_node(h, node);
        break;
    case REPLACE:
        replace_node(h, node);
        break;
    case CUT_AT_CHANGE:
        cut_at_change(h);
        break;
    case LOSE:
        lose(h, node);
        break;
    case TINY_LOGS:
    case EXPIRE:
    case FAULTS:
        break;
    }
}

static void repair(struct history *h)
{
    uint32_t node = any_node(h);
    if (coin(h, 2))
        cluster_restart(h->c, node);
    else if (coin(h, 2))
        cluster_heal(h->c);
    else
        cluster_isolate(h->c, node, false);
}

static enum fault choose_fault(struct history *h)
{
    uint32_t enabled[FAULTS], count = 0;
    for (uint32_t i = 0; i < FAULTS; i++) {
        if (h->faults >> i & 1)
            enabled[count++] = i;
    }
    return count ? (enum fault)enabled[prng_below(&h->prng, count)] : FAULTS;
}

static void make_trouble(struct history *h)
{
    bool is_burst = strcmp(current_profile->name, "burst") == 0;
    uint64_t length_ns = is_burst ? NS_PER_S : NS_PER_S + prng_below(&h->prng, 6 * NS_PER_S);
    uint64_t end_ns = cluster_now_ns(h->c) + length_ns;
    while (cluster_now_ns(h->c) < end_ns && !cluster_failure(h->c)) {
        cluster_run(h->c, prng_below(&h->prng, 2 * h->fault_ns));
        if (coin(h, 2))
            repair(h);
        else if (coin(h, 2))
            inject(h, choose_fault(h));
    }
}

static bool is_settled(const struct cluster *c, const void *context)
{
    (void)context;
    return cluster_all_done(c) && cluster_is_settled(c);
}

static bool are_others_idle(const struct cluster *c, const void *context)
{
    const struct history *h = context;
    uint32_t i = 0;
    while (i < h->nodes && (i == h->hung || cluster_is_idle(c, i)))
        i++;
    return i == h->nodes;
}

/* One store hangs, perhaps the leader's; the others answer all the same. */
static void outlive_a_hung_store(struct history *h)
{
    h->hung = leader_or_any(h);
    cluster_hang_store(h->c, h->hung, 100 * NS_PER_S);
    cluster_run(h->c, 4 * NS_PER_S);
    cluster_stop_clients(h->c);
    if (!cluster_run_until(h->c, SETTLE_NS, are_others_idle, h))
        cluster_fail(h->c, "liveness: the store of node %u hangs and so do the others", h->hung);
    cluster_hang_store(h->c, h->hung, 0);
}

/* A node that runs and is not in @without; the count of nodes when there is none. */
static uint32_t first_up(const struct history *h, uint32_t without)
{
    uint32_t node = 0, count = cluster_count(h->c);
    while (node < count && (!cluster_is_up(h->c, node) || without >> node & 1))
        node++;
    return node;
}

/* The bounds that follow are of running nodes: what came to a paused one waits for its pause's end.
 */
static void await_paused(struct history *h)
{
    uint64_t until_ns = cluster_now_ns(h->c);
    for (uint32_t i = 0; i < cluster_count(h->c); i++) {
        uint64_t paused_ns = cluster_paused_until_ns(h->c, i);
        until_ns = paused_ns > until_ns ? paused_ns : until_ns;
    }
    cluster_run(h->c, until_ns - cluster_now_ns(h->c));
}

static void settle(struct history *h)
{
    cluster_heal(h->c);
    cluster_calm_network(h->c);
    await_paused(h);
    for (uint32_t i = 0; i < cluster_count(h->c); i++) {
        cluster_slow_disk(h->c, i, 0);
        cluster_hang_store(h->c, i, 0);
        cluster_restart(h->c, i);
    }
    if (h->nodes > 2 && h->faults >> HANG_STORE & 1 && !(h->faults & MEMBER_FAULTS))
        outlive_a_hung_store(h);
    cluster_stop_clients(h->c);
    uint64_t start_ns = cluster_now_ns(h->c);
    if (!cluster_run_until(h->c, SETTLE_NS, is_settled, h))
        cluster_fail(h->c,
                     "liveness: not everything was decided everywhere after the faults ended");
    if (cluster_now_ns(h->c) - start_ns > settle_ns_max)
        settle_ns_max = cluster_now_ns(h->c) - start_ns;
    if (cluster_failure(h->c))
        return;
    /* And it still works, as one sees who stays: a removal may be submitted again even now. */
    uint32_t node = first_up(h, h->doomed);
    if (node == cluster_count(h->c))
        node = first_up(h, 0);
    uint64_t id = cluster_increment(h->c, node, 0);
    cluster_run(h->c, 2 * NS_PER_S);
    if (!cluster_is_done(h->c, id))
        cluster_fail(h->c, "liveness: a last command was not decided");
}

struct totals {
    uint64_t histories, steps, calls, slots;
    struct cluster_counts counts;
};

static void add_counts(struct cluster_counts *to, const struct cluster_counts *from)
{
    to->reads += from->reads;
    to->reads_local += from->reads_local;
    to->snapshots += from->snapshots;
    to->snapshots_torn += from->snapshots_torn;
    to->changes += from->changes;
    to->expiries += from->expiries;
    to->reopened += from->reopened;
    to->resubmitted += from->resubmitted;
}

static bool run_history(uint64_t seed, const struct profile *profile, bool trace,
                        struct totals *totals)
{
    current_seed = seed;
    current_profile = profile;
    struct history h = {.prng = {seed}, .fault_ns = profile->fault_ns, .lost = MEMBERS_MAX};
    h.faults = profile->faults;
    if (!profile->all_on)
        h.faults &= (uint32_t)prng_next(&h.prng);
    struct cluster_options options = choose_options(&h, trace);
    h.c = cluster_new(&options);
    make_trouble(&h);
    settle(&h);
    bool is_good = cluster_failure(h.c) == NULL;
    if (!is_good)
        fprintf(stderr, "seed 0x%016" PRIx64 ": %s\n", seed, cluster_failure(h.c));
    if (trace)
        cluster_print_trace(h.c);
    totals->histories++;
    totals->steps += cluster_steps(h.c);
    totals->calls += cluster_calls_done(h.c);
    totals->slots += cluster_decided(h.c);
    struct cluster_counts counts = cluster_counts(h.c);
    add_counts(&totals->counts, &counts);
    cluster_free(h.c);
    return is_good;
}

static const struct profile *find_profile(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(profiles); i++) {
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    }
    fprintf(stderr, "sim: no profile %s\n", name);
    exit(2);
}

/* Runs it, and once more with its events when it fails. */
static bool check_history(uint64_t seed, const struct profile *profile, bool trace,
                          struct totals *totals)
{
    if (run_history(seed, profile, trace, totals))
        return true;
    if (!trace) {
        struct totals ignored = {0};
        run_history(seed, profile, true, &ignored);
    }
    print_replay();
    return false;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'c'},
        {"profile", required_argument, NULL, 'p'}, {"seconds", required_argument, NULL, 't'},
        {"trace", no_argument, NULL, 'v'},         {0},
    };
    uint64_t seed = DEFAULT_SEED, count = 0;
    double seconds = 0;
    const struct profile *only = NULL;
    bool trace = false, has_seed = false;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's') {
            seed = strtoull(optarg, NULL, 0);
            has_seed = true;
        } else if (o == 'c') {
            count = strtoull(optarg, NULL, 0);
        } else if (o == 'p') {
            only = find_profile(optarg);
        } else if (o == 't') {
            seconds = strtod(optarg, NULL);
        } else if (o == 'v') {
            trace = true;
        } else {
            return 2;
        }
    }
    snprintf(program, sizeof program, "%s", argv[0]);
    signal(SIGABRT, on_abort);
    if (count == 0)
        count = seconds > 0 ? UINT64_MAX : has_seed ? 1 : DEFAULT_COUNT;
    printf("sim: seed 0x%016" PRIx64 " profile %s\n", seed, only ? only->name : "all");
    fflush(stdout);

    struct totals totals = {0};
    double start = seconds_now();
    for (size_t i = 0; !has_seed && i < ARRAY_COUNT(found); i++) {
        if (!check_history(found[i].seed, find_profile(found[i].profile), trace, &totals))
            return 1;
    }
    for (uint64_t i = 0; i < count && (seconds == 0 || seconds_now() - start < seconds); i++) {
        const struct profile *p = only ? only : &profiles[i % ARRAY_COUNT(profiles)];
        if (!check_history(seed + i, p, trace, &totals))
            return 1;
    }
    double took = seconds_now() - start;
    printf("sim: %" PRIu64 " histories, %" PRIu64 " steps (%.0f/s), %" PRIu64 " slots, %" PRIu64
           " calls answered, settled within %.2f s; %.1f s\n",
           totals.histories, totals.steps, (double)totals.steps / took, totals.slots, totals.calls,
           (double)settle_ns_max / 1e9, took);
    const struct cluster_counts *k = &totals.counts;
    printf("sim: %" PRIu64 " reads, %" PRIu64 " by read leases; %" PRIu64
           " changes of voters; %" PRIu64 " snapshots, %" PRIu64 " torn; %" PRIu64
           " sessions expired, %" PRIu64 " opened anew, %" PRIu64 " commands sent again\n",
           k->reads, k->reads_local, k->changes, k->snapshots, k->snapshots_torn, k->expiries,
           k->reopened, k->resubmitted);
    return 0;
}

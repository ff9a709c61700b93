#!/usr/bin/env python3
"""Explicit-state model of the leader lease, the hand-over and the read leases (Python 3.11 standard library).

  leases.py exhaust                  every scope complete, leases of 1 tick: all must hold
  leases.py exhaust --ticks 2 --seconds 60     wider, cut off
  leases.py mutants                  each rule off: must be caught; prints a shortest history
  leases.py walk --seconds 300       4 ballots, 3 slots, 3 holders (one a learner), 3 crashes, hand-over, 3 ticks, at random
  leases.py walkmutants --seconds 20 the same, each rule off

Not in it: reconfiguration, log and store, sessions, more than one object.

Network: a message once sent can arrive at any later time, any number of times, or never. Time: ticks; every lease is a
number of ticks left, so time has no end. Rate errors are folded into the margin (each side at its worst: both exactly on time).
A node that does nothing is a paused node; its kernel cache goes on. Slots are writes to one object.
Of messages that differ only in that one allows more (a younger heartbeat or ask, a longer grant), only that one is kept.
`floor` is the newest slot decided: its client may have been answered, or a reader have seen it. What a node has applied is lost
in a crash (its promise and votes are not), and learnt again from anyone.
A leader may release its lease at any moment: to hand over, to itself under its next ballot, or since it lost. Scopes that are
`still` have no ticks, and only the last ballot proposes: all that three ballots in a row can do while leases run.
"""
import argparse, itertools, random, sys, time

# Every rule that keeps the property. Off = the broken (or the not yet written) variant.
RULES = {
    'hbsend':  'leader lease counted from the heartbeat\'s send time',
    'send':    'read lease counted from the asker\'s send time',
    'margin':  'clock rate error on the safe side',
    'promise': 'acceptor under a leader lease promises no one',
    'ballot':  '... nor the same leader at another ballot',
    'silent':  'silence after restart',
    'fresh':   'a ballot is durable before its first p1a leaves',
    'within':  'read lease ends within the leader\'s own',
    'ask':     'a decision asks the holders',
    'bound':   'a grant names the highest slot proposed or adopted; no read before it is applied',
    'adopted': '... (off: names the highest slot decided)',
    'pend':    'pending slots block local reads',
    'inval':   'kernel invalidated before the acknowledgement',
    'grace':   'answers with a timeout still on their way finish before the acknowledgement',
    'kabs':    'kernel timeout ends with the lease even when the answer is late',
    'inc':     'only the incarnation that holds the lease can acknowledge for it',
    'relsend': 'a release names the read leases still out',
    'relall':  '... also those that its leader had from the one before',
    'relstop': 'who released serves, grants and decides no more',
    'relown':  'a release frees only the lease of its own ballot',
    'relh':    'a p1b that promises early carries the leases that the release named',
    'relkeep': '... and so does the next one: they are kept as long as the released lease would run',
    'union': 'a new leader begins with what all its p1bs carry, not one of them',
    'own':     'a node that leads drops the read lease it held: it does not ask itself',
    'ready':   'new leader: no read index before all it adopted is decided',
    'durable': 'promise and accepted survive a crash',
}
NODE = 'promised acc lb lt silent applied rl bound pend kc rep inc released'.split()  # released: None, or the leases it named
PR, ACC, LB, LT, SIL, APP, RL_, BND, PEND, KC, REP, INC, RH = range(13)
PH, PROP, AMAX, HOLD = range(4)             # leader: phase 0 none 1 scouting 2 active 3 gone; proposals; highest adopted; holders
NOD, LEAD, P1A, P1B, HB, HBR, HBA, ASK, GR, P2A, P2B, DEC, CR, REL = range(14)


class Model:
    def __init__(s, owners=(0, 1), slots=1, holders=(2,), learners=(), crashers=(), crashes=0, L=2, R=2, transfer=False,
                 kernel=True, leader_holds=True, again=False,
                 still=False, off=()):
        s.owner = (None,) + tuple(owners)   # ballot -> node; ballot 1 starts adopted
        s.nb, s.S, s.L, s.R, s.transfer, s.kernel = len(owners), slots, L, R, transfer, kernel
        s.holders, s.voters, s.crashers, s.crashes = tuple(holders), (0, 1, 2), tuple(crashers), crashes
        s.n, s.leader_holds, s.again, s.still = 3 + len(learners), leader_holds, again, still
        assert not set(off) - set(RULES), off
        for r in RULES:
            setattr(s, 'r_' + r, r not in off)

    def initial(s):
        node = (1, ((0, 0),) * s.S, 0, 0, 0, 0, 0, 0, 0, None, None, 0, None)
        lead = ((2, (0,) * s.S, 0, ()),) + ((0, (0,) * s.S, 0, ()),) * (s.nb - 1)
        z = frozenset()
        hb, ask = (frozenset({(1, 0)}), frozenset((h, 0, 0) for h in s.holders)) if s.still else (z, z)
        return ((node,) * s.n, lead, 1, z, hb, ((0, 0, 0),) * s.nb, z, ask, z, z, z, (0,) * s.S, 0, (None,) * s.nb)

    # -- what is wrong with this state, or None
    def bad(s, st):
        nodes, lead = st[NOD], st[LEAD]
        floor = sum(v != 0 for v in st[DEC])
        for i in s.holders:
            n = nodes[i]
            if n[APP] < floor and s.may_read(n):
                return f'node {i} reads slot {n[APP]} under its lease; slot {floor} was seen or answered'
            if n[KC] and n[KC][0] < floor:
                return f'kernel of node {i} serves slot {n[KC][0]}; slot {floor} was seen or answered'
        for b in range(1, s.nb + 1):
            l, n = lead[b - 1], nodes[s.owner[b]]
            if l[PH] == 2 and s.leased(st, b) and n[APP] < floor and (n[APP] >= l[AMAX] or not s.r_ready):
                return f'leader of ballot {b} gives read index {n[APP]}; slot {floor} was seen or answered'

    def may_read(s, n):
        return n[RL_] > 0 and n[APP] >= n[BND] and not (s.r_pend and n[PEND] >> n[APP])

    def leased(s, st, b):                    # ticks left of the leader's lease: the majority's
        return sorted(st[HBR][b - 1])[1]

    def may_promise(s, st, n, b):
        if n[SIL]:
            return False
        if not (n[LT] and s.r_promise) or n[LB] == b:
            return True
        if n[RH] is not None and b > n[LB]:
            return True
        return not s.r_ballot and s.owner[n[LB]] == s.owner[b]

    def promise(s, n, b):                    # what changes in the node; what its p1b carries
        early = n[LT] and n[LB] != b and n[RH] is not None
        new = dict(PR=b) if not early or s.r_relkeep else dict(PR=b, LB=0, LT=0, RH=None)
        return new, n[RH] if early and s.r_relh else ()

    def next(s, st):
        nodes, lead = st[NOD], st[LEAD]
        def put(**kw):
            x = list(st)
            for k, v in kw.items():
                x[globals()[k]] = v
            return tuple(x)
        def nd(i, **kw):
            x = list(nodes[i])
            for k, v in kw.items():
                x[globals()[k]] = v
            return nodes[:i] + (tuple(x),) + nodes[i + 1:]
        def ld(b, **kw):
            x = list(lead[b - 1])
            for k, v in kw.items():
                x[globals()[k]] = v
            return lead[:b - 1] + (tuple(x),) + lead[b:]

        t = s.tick(st)
        if t != st and not s.still:
            yield 'tick', t
        for b in range(1, s.nb + 1):
            l, o = lead[b - 1], s.owner[b]
            on = nodes[o]
            if l[PH] == 0 and on[PR] < b and (not s.r_fresh or s.may_promise(st, on, b)):
                ll, hr = list(lead), list(st[HBR])
                for c in range(1, b):        # one ballot at a time is this node's
                    if s.owner[c] == o and ll[c - 1][PH] in (1, 2):
                        ll[c - 1], hr[c - 1] = (3, (0,) * s.S, 0, ()), (0, 0, 0)
                ll[b - 1] = (1,) + l[1:]
                new, carried = s.promise(on, b)
                own = dict(NOD=nd(o, **new), P1B=st[P1B] | {(b, o, on[ACC], carried)}) if s.r_fresh else {}
                yield f'{o} scouts ballot {b}', put(LEAD=tuple(ll), HBR=tuple(hr), P1A=st[P1A] | 1 << b, **own)
            if st[P1A] >> b & 1 and not (s.r_fresh and l[PH] == 3):
                for i in s.voters:
                    if nodes[i][PR] < b and s.may_promise(st, nodes[i], b):
                        new, carried = s.promise(nodes[i], b)
                        yield f'{i} promises ballot {b}', put(NOD=nd(i, **new), P1B=st[P1B] | (
                            {(b, i, nodes[i][ACC], carried)} if l[PH] == 1 or not s.r_fresh else set()))
                    elif s.again and nodes[i][PR] == b and not nodes[i][SIL] and l[PH] == 1:
                        m = (b, i, nodes[i][ACC], s.promise(nodes[i], b)[1])
                        if m not in st[P1B]:
                            yield f'{i} answers ballot {b} again', put(P1B=st[P1B] | {m})
            if l[PH] == 1:
                for x, y in itertools.combinations([m for m in st[P1B] if m[0] == b], 2):
                    if x[1] == y[1]:
                        continue
                    best = [max(p, q) for p, q in zip(x[2], y[2])]
                    top = max([k + 1 for k in range(s.S) if best[k][0]], default=0)
                    top = max(top, on[APP])
                    prop = tuple(best[k][1] if best[k][0] else (-b if k < top else 0) for k in range(s.S))
                    prop = tuple(st[DEC][k] if k < on[APP] else prop[k] for k in range(s.S))   # what it applied it knows
                    held = {}
                    for h, inc, e, _ in x[3] + (y[3] if s.r_union else ()):
                        held[h, inc] = max(held.get((h, inc), 0), e)
                    held = tuple(sorted((h, inc, e, s.r_relall) for (h, inc), e in held.items()))
                    if not s.leader_holds and s.r_own and on[REP]:
                        continue
                    own = dict() if s.leader_holds or not s.r_own else dict(
                        NOD=nd(o, RL_=0, BND=0, KC=None), GR=frozenset(q for q in st[GR] if q[0] != o))
                    yield (f'{o} adopted at ballot {b} by {x[1]},{y[1]}',
                           put(LEAD=ld(b, PH=2, PROP=prop, AMAX=top, HOLD=held),
                               P1B=frozenset(m for m in st[P1B] if m[0] != b) if s.r_fresh else st[P1B], **own,
                               P2A=st[P2A] | {(b, k + 1, prop[k]) for k in range(s.S) if prop[k] and k >= on[APP]}))
            if l[PH] == 2:
                k = max([on[APP]] + [j + 1 for j in range(s.S) if l[PROP][j]])
                if k < s.S and (not s.still or b == s.nb):
                    v = b * 10 + k + 1 + 100 * nodes[o][INC]
                    yield f'{o} proposes slot {k+1} at ballot {b}', put(
                        LEAD=ld(b, PROP=l[PROP][:k] + (v,) + l[PROP][k + 1:]), P2A=st[P2A] | {(b, k + 1, v)})
                k = on[APP]
                if k < s.S and l[PROP][k]:
                    votes = {m[2] for m in st[P2B] if m[0] == b and m[1] == k + 1}
                    acks = votes if not s.r_inc else {m[2:] for m in st[P2B] if m[0] == b and m[1] == k + 1}
                    if len(votes & {0, 1, 2}) >= 2 and not (s.r_ask and any(
                            ((h, i) if s.r_inc else h) not in acks and (h != o or s.leader_holds) for h, i, _, _ in l[HOLD])):
                        v = l[PROP][k]
                        lab = f'{o} decides slot {k+1} at ballot {b}'
                        if st[DEC][k] and st[DEC][k] != v:
                            yield lab + f': TWO DECISIONS {st[DEC][k]} and {v}', None
                        else:
                            yield lab, put(DEC=st[DEC][:k] + (v,) + st[DEC][k + 1:],
                                           NOD=nd(o, APP=k + 1))
                if (b, 0) not in st[HB]:
                    yield f'{o} heartbeat at ballot {b}', put(HB=frozenset(h for h in st[HB] if h[0] != b) | {(b, 0)})
                left = s.leased(st, b)
                if left:
                    for h, inc, age in st[ASK]:
                        if h == o and not s.leader_holds:
                            continue
                        d = min(s.R, left) if s.r_within else s.R
                        top = max([on[APP]] + [j + 1 for j in range(s.S) if l[PROP][j]])
                        bound = 0 if not s.r_bound else top if s.r_adopted else on[APP]
                        rest = d - age if s.r_send else d
                        if rest <= 0:
                            continue
                        hold = {(a, c): (e, own) for a, c, e, own in l[HOLD]}
                        hold[h, inc] = (max(hold.get((h, inc), (0,))[0], d), True)
                        g = (h, inc, rest + (not s.r_margin), bound)
                        if any(q[:2] == g[:2] and q[2] >= g[2] and q[3] <= bound for q in st[GR]):
                            continue
                        yield f'{o} grants node {h} {rest} ticks, bound {bound}', put(
                            GR=frozenset(q for q in st[GR] if q[:2] != g[:2] or q[2] > g[2] or q[3] < bound) | {g},
                            LEAD=ld(b, HOLD=tuple(sorted((a, c, e, own) for (a, c), (e, own) in hold.items()))))
                if s.transfer and b < s.nb:
                    out = tuple(h for h in l[HOLD] if h[3]) if s.r_relsend else ()
                    stop = dict(LEAD=ld(b, PH=3, HOLD=()), HBR=st[HBR][:b - 1] + ((0, 0, 0),) + st[HBR][b:]) if s.r_relstop else {}
                    if st[REL][b - 1] is None:
                        yield f'{o} releases ballot {b}', put(REL=st[REL][:b - 1] + (out,) + st[REL][b:], **stop)
        for b, age in st[HB]:
            for i in s.voters:
                n = nodes[i]
                if n[PR] > b or n[LT] and n[LB] != b and not (n[RH] is not None and b > n[LB]):
                    continue
                if n[LT] and n[LB] == b and n[RH] is not None:
                    continue
                new = nd(i, LB=b, LT=s.L, RH=None)
                if not s.r_hbsend:
                    yield f'{i} answers heartbeat {b}', put(NOD=new, HBA=st[HBA] | {(b, i)})
                else:
                    r = st[HBR][b - 1]
                    rest = max(r[i], s.L - age + (not s.r_margin)) if lead[b - 1][PH] == 2 else 0
                    x = put(NOD=new, HBR=st[HBR][:b - 1] + (r[:i] + (rest,) + r[i + 1:],) + st[HBR][b:])
                    if x != st:
                        yield f'{i} answers heartbeat {b}', x
        for b, i in st[HBA]:
            r = st[HBR][b - 1]
            if lead[b - 1][PH] == 2 and r[i] < s.L:
                yield f'answer of {i} to heartbeat {b} arrives', put(
                    HBR=st[HBR][:b - 1] + (r[:i] + (s.L,) + r[i + 1:],) + st[HBR][b:])
        for b in range(1, s.nb + 1):
            if st[REL][b - 1] is None:
                continue
            for i in s.voters:
                n = nodes[i]
                if n[LT] and n[RH] is None and (n[LB] == b or not s.r_relown):
                    yield f'release of ballot {b} reaches {i}', put(NOD=nd(i, RH=st[REL][b - 1]))
        for b, k, v in st[P2A]:
            for i in range(s.n):
                n = nodes[i]
                if i in s.voters and n[PR] > b:
                    continue
                if s.r_grace and n[REP]:
                    continue
                new = dict(PR=b, ACC=n[ACC][:k - 1] + ((b, v),) + n[ACC][k:]) if i in s.voters else {}
                if i in s.holders:
                    if k > n[APP]:
                        new['PEND'] = n[PEND] | 1 << (k - 1)
                    if n[KC] and n[KC][2] == n[INC] and s.r_inval and n[KC][0] < k:
                        new['KC'] = None
                x = put(NOD=nd(i, **new), P2B=st[P2B] | {(b, k, i, n[INC])})
                if x != st:
                    yield f'{i} accepts slot {k} at ballot {b}' if i in s.voters else f'{i} acknowledges slot {k} at ballot {b}', x
        for i in range(s.n):
            n = nodes[i]
            if n[APP] < s.S and st[DEC][n[APP]]:
                yield f'{i} applies slot {n[APP]+1}', put(NOD=nd(i, APP=n[APP] + 1, PEND=n[PEND] & ~(1 << n[APP])))
            if i in s.crashers and st[CR] < s.crashes:
                new = dict(LB=0, LT=0, RH=None, SIL=s.L if s.r_silent else 0, RL_=0, BND=0, PEND=0, REP=None, APP=0, INC=n[INC] + 1)
                if not s.r_durable:
                    new.update(PR=0, ACC=((0, 0),) * s.S)
                ll, hr = list(lead), list(st[HBR])
                for b in range(1, s.nb + 1):
                    if s.owner[b] == i and ll[b - 1][PH] in (1, 2):
                        ll[b - 1] = (3 if s.r_fresh or n[PR] >= b else 0, (0,) * s.S, 0, ())
                        hr[b - 1] = (0, 0, 0)
                yield f'{i} crashes and restarts', put(NOD=nd(i, **new), LEAD=tuple(ll), HBR=tuple(hr), CR=st[CR] + 1)
            if i not in s.holders:
                continue
            if (i, n[INC], 0) not in st[ASK]:
                yield f'{i} asks for a lease', put(
                    ASK=frozenset(q for q in st[ASK] if q[0] != i) | {(i, n[INC], 0)})
            for h, inc, rest, bound in st[GR]:
                if h == i and inc == n[INC] and rest > n[RL_]:
                    yield f'{i} receives lease of {rest} ticks, bound {bound}', put(
                        NOD=nd(i, RL_=rest, BND=min(bound, n[BND]) if n[RL_] else bound))
            if s.kernel and not n[REP] and s.may_read(n):
                if (n[KC] or (0, 0))[:2] != (n[APP], n[RL_]):
                    yield f'{i} prepares an answer: slot {n[APP]}, timeout {n[RL_]}', put(NOD=nd(i, REP=(n[APP], n[RL_])))
            if n[REP]:
                yield f'kernel of {i} takes the answer', put(
                    NOD=nd(i, REP=None, KC=(n[REP][0], n[REP][1], n[INC]) if n[REP][1] else n[KC]))

    def tick(s, st):
        dec = lambda x: x - 1 if x else 0
        hold = lambda hs: tuple((a, c, e - 1, own) for a, c, e, own in hs if e > 1)
        def node(n):
            lt, rl = dec(n[LT]), dec(n[RL_])
            kc = n[KC] if not n[KC] else (n[KC][0], n[KC][1] - 1, n[KC][2]) if n[KC][1] > 1 else None
            rep = n[REP] if not n[REP] or not s.r_kabs else (n[REP][0], dec(n[REP][1]))
            return (n[PR], n[ACC], n[LB] if lt else 0, lt, dec(n[SIL]), n[APP], rl, n[BND] if rl else 0, n[PEND], kc, rep, n[INC],
                    hold(n[RH]) if lt and n[RH] is not None else None)
        x = list(st)
        x[NOD] = tuple(map(node, st[NOD]))
        x[LEAD] = tuple((p, q, a, hold(h)) for p, q, a, h in st[LEAD])
        x[REL] = tuple(r if r is None else hold(r) for r in st[REL])
        x[P1B] = frozenset((b, i, acc, hold(h)) for b, i, acc, h in st[P1B])
        x[HB] = frozenset((b, a + 1) for b, a in st[HB] if a + 1 < s.L)
        x[HBR] = tuple(tuple(map(dec, r)) for r in st[HBR])
        x[ASK] = frozenset((h, i, a + 1) for h, i, a in st[ASK] if a + 1 < s.R)
        if s.r_send:
            x[GR] = frozenset((h, i, r - 1, b) for h, i, r, b in st[GR] if r > 1)
        return tuple(x)


def explore(m, limit, seconds=1e9):
    """Breadth first, so the first counterexample is a shortest one. States are kept as 64-bit hashes."""
    t0, st = time.time(), m.initial()
    seen, layer, depth = {hash(st): None}, [st], 0
    def trace(h):
        out = []
        while seen[h]:
            h, lab = seen[h]
            out.append(lab)
        return out[::-1]
    while layer:
        new, depth = [], depth + 1
        for st in layer:
            h = hash(st)
            for lab, x in m.next(st):
                if x is None:
                    return trace(h) + [lab], len(seen), depth, False
                k = hash(x)
                if k in seen:
                    continue
                seen[k] = (h, lab)
                why = m.bad(x)
                if why:
                    return trace(k) + ['** ' + why], len(seen), depth, False
                new.append(x)
            if len(seen) > limit or time.time() - t0 > seconds:
                return None, len(seen), depth, False
        layer = new
    return None, len(seen), depth, True


def walk(m, seconds, steps, seed=1):
    rng, t0, walks, total = random.Random(seed), time.time(), 0, 0
    while time.time() - t0 < seconds:
        st, path = m.initial(), []
        walks += 1
        tick_p = rng.choice((.05, .1, .2, .4))
        for _ in range(steps):
            opts = list(m.next(st))
            if not opts:
                break
            lab, x = rng.choice(opts)
            if len(opts) > 1 and opts[0][0] == 'tick' and rng.random() > tick_p:
                lab, x = rng.choice(opts[1:])
            total += 1
            path.append(lab)
            if x is None:
                return path, walks, total
            why = m.bad(x)
            if why:
                return path + ['** ' + why], walks, total
            st = x
    return None, walks, total


SCOPES = {   # exhaustive
    'base':    dict(),
    'learner': dict(holders=(3,), learners=(3,)),
    'crash0':  dict(crashers=(0,), crashes=1),
    'crash1':  dict(crashers=(1,), crashes=1),
    'crash2':  dict(crashers=(2,), crashes=1),
    'same':    dict(owners=(0, 0), crashers=(0,), crashes=1),
    'samenk':  dict(owners=(0, 0), crashers=(0,), crashes=1, kernel=False, holders=()),
    'selfhold': dict(holders=(0,)),
    'transfer': dict(transfer=True),
    'heir':    dict(transfer=True, holders=(1,), leader_holds=False),
    'again':   dict(transfer=True, owners=(0, 0), kernel=False),
    'third':   dict(transfer=True, owners=(0, 1, 1), kernel=False, still=True),
    'third2':  dict(transfer=True, owners=(0, 1, 0), kernel=False, still=True),
    'two':     dict(slots=2, kernel=False),
}
MUTANTS = {  # rule off -> scope that shows it
    'send': 'base', 'hbsend': 'base', 'margin': 'base', 'promise': 'base', 'silent': 'crash2', 'ask': 'base', 'bound': 'base',
    'inval': 'base', 'pend': 'base', 'within': 'base', 'ready': 'base', 'durable': 'crash2', 'grace': 'base', 'kabs': 'base',
    'inc': 'crash2', 'ballot': 'same', 'fresh': 'samenk', 'adopted': 'base',
    'relsend': 'transfer', 'relh': 'transfer', 'relstop': 'transfer', 'union': 'transfer', 'own': 'heir',
    'relkeep': 'third', 'relall': 'third', 'relown': 'third',
}
BIG = dict(owners=(0, 1, 0, 2), slots=3, holders=(0, 2, 3), learners=(3,), crashers=(0, 1, 2, 3), crashes=3, L=3, R=3, transfer=True)


def show(path):
    for i, lab in enumerate(path, 1):
        print(f'  {i}. {lab}')


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('what', choices=['mutants', 'exhaust', 'walk', 'walkmutants'])
    ap.add_argument('--only', default='')
    ap.add_argument('--limit', type=int, default=6_000_000)
    ap.add_argument('--seconds', type=float, default=300)
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--ticks', type=int, default=0, help='length of both leases (mutants 2, but 1 with a hand-over; exhaust 1)')
    ap.add_argument('--off', default='', help='rules to switch off, comma separated')
    a = ap.parse_args()
    off = tuple(filter(None, a.off.split(',')))
    pick = [x for x in a.only.split(',') if x]
    rc = 0
    if a.what == 'mutants':
        for r, sc in MUTANTS.items():
            if pick and r not in pick:
                continue
            ticks = 1 if SCOPES[sc].get('transfer') else 2
            path, n, d, _ = explore(Model(off=(r,) + off, **SCOPES[sc], L=a.ticks or ticks, R=a.ticks or ticks), a.limit, a.seconds)
            print(f'without "{RULES[r]}" [{r}, scope {sc}]:', f'caught, {n} states' if path else f'NOT CAUGHT in {n} states, depth {d}', flush=True)
            rc |= not path
            show(path or [])
    elif a.what == 'exhaust':
        for name, kw in SCOPES.items():
            if pick and name not in pick:
                continue
            t = time.time()
            path, n, d, done = explore(Model(off=off, **kw, L=a.ticks or 1, R=a.ticks or 1), a.limit, a.seconds)
            print(f'{name}: {"VIOLATED" if path else "holds, complete" if done else "holds so far, cut off"}; {n} states, depth {d}, {time.time()-t:.0f} s', flush=True)
            rc |= bool(path)
            show(path or [])
    else:
        todo = [(r,) for r in RULES if not pick or r in pick] if a.what == 'walkmutants' else [()]
        for r in todo:
            path, w, n = walk(Model(off=off + r, **BIG), a.seconds, 150, a.seed)
            print(f'walk without {r or "nothing"}:', f'VIOLATED after {w} walks' if path else f'held: {w} walks, {n} steps', flush=True)
            rc |= bool(path) != bool(r)
            if path and not r:
                show(path)
    return rc


if __name__ == '__main__':
    sys.exit(main())

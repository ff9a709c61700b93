#include <string.h>

#include "base/assert.h"
#include "fs/apply.h"
#include "fs/members.h"

static void copy_text(char *to, size_t room, const char *from, uint32_t size)
{
    ASSERT(size < room); /* the decoder refused longer ones */
    memset(to, 0, room);
    memcpy(to, from, size);
}

static enum membership_verdict invite(struct apply *a)
{
    const struct fs_command *c = a->c;
    struct invitation invitation = {
        .expires_ns = c->size < UINT64_MAX - a->time_ns ? a->time_ns + c->size : UINT64_MAX,
        .wants_vote = c->mode & FS_INVITE_VOTER,
        .replaces = c->nonce,
    };
    memcpy(invitation.secret, c->data, sizeof invitation.secret);
    copy_text(invitation.name, sizeof invitation.name, c->name, c->name_size);
    return membership_invite(&a->s->membership, &invitation, a->time_ns);
}

static enum membership_verdict join(struct apply *a)
{
    const struct fs_command *c = a->c;
    char name[MEMBER_NAME_MAX + 1], address[ADDRESS_MAX + 1];
    copy_text(name, sizeof name, c->name, c->name_size);
    copy_text(address, sizeof address, c->new_name, c->new_name_size);
    return membership_join(&a->s->membership, a->time_ns, c->data, c->nonce, name, address);
}

static enum membership_verdict promote(struct apply *a)
{
    return membership_promote(&a->s->membership, a->slot, a->c->nonce);
}

static enum membership_verdict replace(struct apply *a)
{
    return membership_replace(&a->s->membership, a->slot, a->c->nonce, a->c->ino);
}

static enum membership_verdict remove_member(struct apply *a)
{
    return membership_remove(&a->s->membership, a->slot, a->c->nonce);
}

static enum membership_verdict set_address(struct apply *a)
{
    char address[ADDRESS_MAX + 1];
    copy_text(address, sizeof address, a->c->name, a->c->name_size);
    return membership_set_address(&a->s->membership, a->c->nonce, address);
}

static enum membership_verdict (*const changes[])(struct apply *a) = {
    [FS_INVITE] = invite,        [FS_JOIN] = join,
    [FS_PROMOTE] = promote,      [FS_REPLACE] = replace,
    [FS_REMOVE] = remove_member, [FS_SET_ADDRESS] = set_address,
};

int apply_membership(struct apply *a)
{
    struct membership *m = &a->s->membership;
    ASSERT(a->c->op < ARRAY_COUNT(changes));
    ASSERT(changes[a->c->op] != NULL);
    if (membership_is_empty(m)) { /* a state without members: nobody to change it */
        a->outcome->verdict = MEMBERSHIP_UNKNOWN;
        return 0;
    }
    uint64_t version = m->version, from = m->from;
    a->outcome->verdict = changes[a->c->op](a);
    a->outcome->from = m->from != from ? m->from : 0;
    return m->version != version ? members_put(a->s) : 0;
}

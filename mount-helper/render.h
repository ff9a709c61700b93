/* mount-helper/render.h: a node's status and the cluster's digests as one screen of text. Missing
 * keys are left out: the daemon may be older or newer. */
#ifndef MOUNT_HELPER_RENDER_H
#define MOUNT_HELPER_RENDER_H

#include <msgpack.h>
#include <stdio.h>

void render_status(FILE *out, const msgpack_object *status);
/* Who belongs to the cluster, of the same status: for `paxfs member ls`. */
void render_membership(FILE *out, const msgpack_object *status);
/* One line a member and the verdict. */
void render_verify(FILE *out, const msgpack_object *result);

/* The exit codes that go with them. */
int render_status_exit(const msgpack_object *status);
int render_verify_exit(const msgpack_object *result);

#endif

/* rpc/admin.h: requests of people to a daemon, over the unix socket STATE/admin.sock (mode 0600).
 *
 * msgpack-rpc: request [0, id, "method", {params}], response [1, id, error, result]: error is nil
 * or a string a person reads ("what: why; what to do"), result any msgpack value (a map). Frames as
 * between peers. One file descriptor may ride with a request (SCM_RIGHTS): `mount` brings
 * /dev/fuse.
 *
 * Methods: status {} · verify {} · mount {dir, read_only, timeo_ns} + fd · stop {} · transfer {}
 * backup {} + fd, a pipe's end to write to -> {slot, bytes, behind}: answered once all is written
 * member_add {name, learner, replaces} -> {token, expires_s}
 * member_remove {name, force} · member_promote {name, force} · member_replace {old, new, force} ·
 * member_set_addr {name, address} -> {did, missing}: sentences, missing nil where nothing is;
 * answered once the change governs */
#ifndef RPC_ADMIN_H
#define RPC_ADMIN_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>
#include <uv.h>

#include "rpc/frame.h"

#define ADMIN_REQUEST_SIZE_MAX (64 * 1024)
#define ADMIN_CLIENTS_MAX      32

/* ---- server: loop thread ---- */

struct admin_server;
struct admin_request; /* to be answered exactly once, now or later */

struct admin_callbacks {
    void *context;
    /* @params: a msgpack map, or nil; borrowed for the call. @fd: -1 or a descriptor that now
     * belongs to the callee. */
    void (*on_request)(void *context, struct admin_request *r, const char *method,
                       const msgpack_object *params, int fd);
};

/* 0 or -errno. A stale socket file is replaced (the caller holds the state directory's lock). */
int admin_server_open(uv_loop_t *loop, const char *path, const struct admin_callbacks *callbacks,
                      struct admin_server **out);
/* Answer: @result is packed msgpack, or NULL for nil. The request is gone after either. Answering a
 * client that hung up is harmless. */
void admin_reply(struct admin_request *r, const struct buffer *result);
void admin_reply_error(struct admin_request *r, const char *error);
void admin_server_close(struct admin_server *s, void (*closed)(void *context), void *context);

/* ---- client: blocking, any process ---- */

struct admin_response {
    msgpack_unpacked unpacked; /* owns result */
    char error[512];           /* "" when it went well */
    msgpack_object result;
};

/* Ask the daemon of @state_dir. @params: packed msgpack map or NULL; @fd: -1 or one to send along.
 * 0: answered (look at error); -ENOENT, -ECONNREFUSED: no daemon there; -ETIMEDOUT; -EBADMSG;
 * other -errno. Free with admin_response_deinit() after 0. */
int admin_call(const char *state_dir, const char *method, const struct buffer *params, int fd,
               int timeout_ms, struct admin_response *response);
void admin_response_deinit(struct admin_response *response);

/* Value of @key in a map, or NULL. Typed: @fallback where it is missing or of another type. */
const msgpack_object *admin_get(const msgpack_object *map, const char *key);
uint64_t admin_get_u64(const msgpack_object *map, const char *key, uint64_t fallback);
bool admin_get_bool(const msgpack_object *map, const char *key, bool fallback);
/* Copy into @out (NUL-terminated, cut to fit); returns @out. */
const char *admin_get_text(const msgpack_object *map, const char *key, char *out, size_t room,
                           const char *fallback);
/* Print any msgpack value as JSON (strings escaped; bin as hex). */
void admin_print_json(FILE *out, const msgpack_object *value);

/* Packing helpers over struct buffer, so that callers do not meet msgpack_packer. */
void pack_map(struct buffer *b, uint32_t pairs);
void pack_array(struct buffer *b, uint32_t count);
void pack_text(struct buffer *b, const char *text);
void pack_u64(struct buffer *b, uint64_t value);
void pack_double(struct buffer *b, double value);
void pack_bool(struct buffer *b, bool value);
void pack_nil(struct buffer *b);
/* One pair of a map; @value NULL is nil. Ids and digests as hexadecimal text. */
void pack_key_u64(struct buffer *b, const char *key, uint64_t value);
void pack_key_text(struct buffer *b, const char *key, const char *value);
void pack_key_bool(struct buffer *b, const char *key, bool value);
void pack_key_hex(struct buffer *b, const char *key, uint64_t value);
void pack_key_digest(struct buffer *b, const char *key, const uint64_t digest[2]);

#endif

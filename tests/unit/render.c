/* What `paxfs status` and `paxfs verify` make of a daemon's answer. */
#include "mount-helper/render.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "rpc/admin.h"

struct answer {
    struct buffer packed;
    msgpack_unpacked unpacked;
};

static const msgpack_object *answer_open(struct answer *a)
{
    msgpack_unpacked_init(&a->unpacked);
    msgpack_unpack_return rc =
        msgpack_unpack_next(&a->unpacked, (const char *)a->packed.bytes, a->packed.size, NULL);
    cr_assert_eq(rc, MSGPACK_UNPACK_SUCCESS);
    return &a->unpacked.data;
}

static void answer_close(struct answer *a)
{
    msgpack_unpacked_destroy(&a->unpacked);
    buffer_deinit(&a->packed);
}

static void pack_digest(struct buffer *b, const char *name, const char *digest)
{
    pack_map(b, 2);
    pack_text(b, "name");
    pack_text(b, name);
    pack_text(b, "digest");
    if (digest)
        pack_text(b, digest);
    else
        pack_nil(b);
}

static void pack_verify(struct buffer *b, bool equal, const char *const digests[3])
{
    uint64_t missing = 0;
    pack_map(b, 4);
    pack_text(b, "slot");
    pack_u64(b, 41);
    pack_text(b, "equal");
    pack_bool(b, equal);
    pack_text(b, "members");
    pack_array(b, 3);
    for (int i = 0; i < 3; i++) {
        pack_digest(b, "n", digests[i]);
        missing += digests[i] == NULL;
    }
    pack_text(b, "missing");
    pack_u64(b, missing);
}

Test(render, verify_exits_0_only_when_all_answered_the_same)
{
    static const struct {
        const char *name, *digests[3];
        bool equal;
        int exit;
    } cases[] = {
        {"all equal", {"aa", "aa", "aa"}, true, 0},
        {"one missing", {"aa", NULL, "aa"}, true, 1},
        {"one missing, which the daemon does not call equal", {"aa", NULL, "aa"}, false, 1},
        {"nobody", {NULL, NULL, NULL}, false, 1},
        {"one differs", {"aa", "aa", "ab"}, false, 2},
        {"one differs and one is missing", {"aa", NULL, "ab"}, false, 2},
        {"one differs, which the daemon did not see", {"aa", "ab", "aa"}, true, 2},
        {"the daemon found a difference", {"aa", "aa", "aa"}, false, 2},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct answer a = {0};
        pack_verify(&a.packed, cases[i].equal, cases[i].digests);
        cr_expect_eq(render_verify_exit(answer_open(&a)), cases[i].exit, "%s", cases[i].name);
        answer_close(&a);
    }
}

Test(render, status_exits_by_its_health_and_an_unknown_one_is_not_fine)
{
    static const struct {
        const char *health;
        int exit;
    } cases[] = {
        {"fine", 0}, {"degraded", 1}, {"not working", 2}, {"splendid", 2}, {"", 2},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct answer a = {0};
        pack_map(&a.packed, 1);
        pack_text(&a.packed, "health");
        pack_text(&a.packed, cases[i].health);
        cr_expect_eq(render_status_exit(answer_open(&a)), cases[i].exit, "%s", cases[i].health);
        answer_close(&a);
    }
}

static void render_both(const msgpack_object *value, char **text)
{
    size_t size;
    FILE *out = open_memstream(text, &size);
    render_status(out, value);
    render_verify(out, value);
    fclose(out);
}

Test(render, an_answer_without_keys_or_with_other_types_is_still_one_screen)
{
    static const char *const keys[] = {"node",   "members", "mount", "log",    "memory",
                                       "space",  "reasons", "role",  "digest", "digest_slot",
                                       "health", "missing", "equal"};
    struct answer empty = {0}, odd = {0};
    pack_map(&empty.packed, 0);
    pack_map(&odd.packed, ARRAY_COUNT(keys));
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        pack_text(&odd.packed, keys[i]);
        pack_array(&odd.packed, 1);
        pack_bool(&odd.packed, true);
    }
    struct answer *answers[] = {&empty, &odd};
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        char *text = NULL;
        render_both(answer_open(answers[i]), &text);
        cr_expect(strstr(text, "role"), "%s", text);
        cr_expect_eq(render_status_exit(&answers[i]->unpacked.data), 2);
        free(text);
        answer_close(answers[i]);
    }
}

Test(render, a_reason_and_a_member_that_is_down_are_said_in_words)
{
    struct answer a = {0};
    char *text = NULL;
    pack_map(&a.packed, 2);
    pack_text(&a.packed, "reasons");
    pack_array(&a.packed, 1);
    pack_map(&a.packed, 3);
    pack_text(&a.packed, "code");
    pack_text(&a.packed, "member_unreachable");
    pack_text(&a.packed, "text");
    pack_text(&a.packed, "n2 is not connected");
    pack_text(&a.packed, "what_to_do");
    pack_text(&a.packed, "start paxfsd there");
    pack_text(&a.packed, "members");
    pack_array(&a.packed, 1);
    pack_map(&a.packed, 3);
    pack_text(&a.packed, "name");
    pack_text(&a.packed, "n2");
    pack_text(&a.packed, "connected");
    pack_bool(&a.packed, false);
    pack_text(&a.packed, "last_error");
    pack_text(&a.packed, "connection refused");
    render_both(answer_open(&a), &text);
    cr_expect(strstr(text, "member_unreachable: n2 is not connected; start paxfsd there"), "%s",
              text);
    cr_expect(strstr(text, "connection refused"), "%s", text);
    cr_expect(strstr(text, "down"), "%s", text);
    free(text);
    answer_close(&a);
}

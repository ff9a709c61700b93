/* node/token: the word that carries a host into a cluster. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "node/token.h"

static const char good[] = "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0f:n4:"
                           "10.0.0.1:7600,[fd00::2]:7600";

Test(token, comes_back_as_it_was_written)
{
    struct token t, again;
    char text[TOKEN_SIZE_MAX];
    cr_assert_eq(token_parse(good, &t), 0);
    cr_expect_eq(t.cluster_id, 0xff);
    cr_expect_eq(t.secret[15], 15);
    cr_expect_str_eq(t.name, "n4");
    cr_expect_eq(t.address_count, 2);
    cr_expect_str_eq(t.addresses[1], "[fd00::2]:7600");
    token_format(&t, text);
    cr_expect_str_eq(text, good);
    cr_assert_eq(token_parse(text, &again), 0);
    cr_expect_eq(memcmp(&t, &again, sizeof t), 0);
}

Test(token, holds_the_longest_of_everything)
{
    struct token t = {.cluster_id = UINT64_MAX, .address_count = MEMBERS_MAX}, again;
    char text[TOKEN_SIZE_MAX];
    memset(t.secret, 0xff, sizeof t.secret);
    memset(t.name, 'n', MEMBER_NAME_MAX);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        memset(t.addresses[i], 'a', ADDRESS_MAX);
    token_format(&t, text);
    cr_assert_eq(token_parse(text, &again), 0);
    cr_expect_eq(memcmp(&t, &again, sizeof t), 0);
}

Test(token, refuses_what_is_cut_or_garbled)
{
    struct token t;
    char text[sizeof good];
    for (size_t size = 0; size < sizeof good - 1; size++) {
        memcpy(text, good, size);
        text[size] = '\0';
        if (strstr(text, ":n4:1")) /* an address that is cut is one nobody answers at */
            break;
        cr_expect_eq(token_parse(text, &t), -EINVAL, "cut at %zu", size);
    }
    static const char *const bad[] = {
        "paxfs-join-2:00000000000000ff:000102030405060708090a0b0c0d0e0f:n4:a:1",
        "paxfs-join-1:00000000000000fg:000102030405060708090a0b0c0d0e0f:n4:a:1",
        "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0F:n4:a:1",
        "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0f::a:1",
        "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0f:n4:",
        "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0f:n4:a:1,",
        "paxfs-join-1:00000000000000ff:000102030405060708090a0b0c0d0e0f:n4:a:1,,b:1",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(token_parse(bad[i], &t), -EINVAL, "%s", bad[i]);
}

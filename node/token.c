#include "node/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const char prefix[] = "paxfs-join-1:";
static const char hex_digits[] = "0123456789abcdef";

void token_format(const struct token *t, char out[TOKEN_SIZE_MAX])
{
    size_t size = (size_t)snprintf(out, TOKEN_SIZE_MAX, "%s%016" PRIx64 ":", prefix, t->cluster_id);
    for (size_t i = 0; i < SECRET_SIZE; i++)
        size += (size_t)snprintf(out + size, TOKEN_SIZE_MAX - size, "%02x", t->secret[i]);
    size += (size_t)snprintf(out + size, TOKEN_SIZE_MAX - size, ":%s:", t->name);
    for (uint32_t i = 0; i < t->address_count; i++)
        size += (size_t)snprintf(out + size, TOKEN_SIZE_MAX - size, "%s%s", i ? "," : "",
                                 t->addresses[i]);
    ASSERT(size < TOKEN_SIZE_MAX);
}

static bool parse_hex(const char *text, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *high = text[2 * i] ? strchr(hex_digits, text[2 * i]) : NULL;
        const char *low = high && text[2 * i + 1] ? strchr(hex_digits, text[2 * i + 1]) : NULL;
        if (!low)
            return false;
        out[i] = (uint8_t)((high - hex_digits) << 4 | (low - hex_digits));
    }
    return true;
}

/* Copy what comes before one of @ends, which must not be nothing. The rest, or NULL. */
static const char *take(const char *text, const char *ends, char *out, size_t room)
{
    size_t size = strcspn(text, ends);
    if (size == 0 || size >= room)
        return NULL;
    memcpy(out, text, size);
    out[size] = '\0';
    return text + size;
}

int token_parse(const char *text, struct token *t)
{
    uint8_t id[8];
    memset(t, 0, sizeof *t);
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return -EINVAL;
    text += sizeof prefix - 1;
    if (!parse_hex(text, id, sizeof id) || text[16] != ':')
        return -EINVAL;
    for (size_t i = 0; i < sizeof id; i++)
        t->cluster_id = t->cluster_id << 8 | id[i];
    text += 17;
    if (!parse_hex(text, t->secret, SECRET_SIZE) || text[2 * SECRET_SIZE] != ':')
        return -EINVAL;
    text = take(text + 2 * SECRET_SIZE + 1, ":,", t->name, sizeof t->name);
    if (!text || *text != ':')
        return -EINVAL;
    do {
        if (t->address_count == MEMBERS_MAX)
            return -EINVAL;
        char *address = t->addresses[t->address_count++];
        text = take(text + 1, ",", address, sizeof t->addresses[0]);
    } while (text && *text == ',');
    return text ? 0 : -EINVAL;
}

#include "rpc/admin.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/msgpack_check.h"

/* ---- packing ---- */

/* Without memory the value stays incomplete; admin_reply() refuses such a one. */
static int append(void *data, const char *bytes, size_t size)
{
    return buffer_append(data, bytes, size);
}

static msgpack_packer packer_of(struct buffer *b)
{
    msgpack_packer p;
    msgpack_packer_init(&p, b, append);
    return p;
}

void pack_map(struct buffer *b, uint32_t pairs)
{
    msgpack_packer p = packer_of(b);
    msgpack_pack_map(&p, pairs);
}

void pack_array(struct buffer *b, uint32_t count)
{
    msgpack_packer p = packer_of(b);
    msgpack_pack_array(&p, count);
}

void pack_text(struct buffer *b, const char *text)
{
    msgpack_packer p = packer_of(b);
    size_t size = strlen(text);
    msgpack_pack_str(&p, size);
    msgpack_pack_str_body(&p, text, size);
}

void pack_u64(struct buffer *b, uint64_t value)
{
    msgpack_packer p = packer_of(b);
    msgpack_pack_uint64(&p, value);
}

void pack_double(struct buffer *b, double value)
{
    msgpack_packer p = packer_of(b);
    msgpack_pack_double(&p, value);
}

void pack_bool(struct buffer *b, bool value)
{
    msgpack_packer p = packer_of(b);
    if (value)
        msgpack_pack_true(&p);
    else
        msgpack_pack_false(&p);
}

void pack_nil(struct buffer *b)
{
    msgpack_packer p = packer_of(b);
    msgpack_pack_nil(&p);
}

void pack_key_u64(struct buffer *b, const char *key, uint64_t value)
{
    pack_text(b, key);
    pack_u64(b, value);
}

void pack_key_text(struct buffer *b, const char *key, const char *value)
{
    pack_text(b, key);
    if (value)
        pack_text(b, value);
    else
        pack_nil(b);
}

void pack_key_bool(struct buffer *b, const char *key, bool value)
{
    pack_text(b, key);
    pack_bool(b, value);
}

void pack_key_hex(struct buffer *b, const char *key, uint64_t value)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    pack_key_text(b, key, text);
}

void pack_key_digest(struct buffer *b, const char *key, const uint64_t digest[2])
{
    char text[33];
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)digest[0],
             (unsigned long long)digest[1]);
    pack_key_text(b, key, text);
}

/* ---- maps ---- */

static bool text_is(const msgpack_object *o, const char *text)
{
    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(text) &&
           memcmp(o->via.str.ptr, text, o->via.str.size) == 0;
}

const msgpack_object *admin_get(const msgpack_object *map, const char *key)
{
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (text_is(&map->via.map.ptr[i].key, key))
            return &map->via.map.ptr[i].val;
    return NULL;
}

uint64_t admin_get_u64(const msgpack_object *map, const char *key, uint64_t fallback)
{
    const msgpack_object *o = admin_get(map, key);
    return o && o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : fallback;
}

bool admin_get_bool(const msgpack_object *map, const char *key, bool fallback)
{
    const msgpack_object *o = admin_get(map, key);
    return o && o->type == MSGPACK_OBJECT_BOOLEAN ? o->via.boolean : fallback;
}

const char *admin_get_text(const msgpack_object *map, const char *key, char *out, size_t room,
                           const char *fallback)
{
    const msgpack_object *o = admin_get(map, key);
    bool is_text = o && o->type == MSGPACK_OBJECT_STR;
    const char *text = is_text ? o->via.str.ptr : fallback;
    size_t size = is_text ? o->via.str.size : strlen(fallback);
    ASSERT(room > 0);
    if (size >= room)
        size = room - 1;
    if (size)
        memcpy(out, text, size);
    out[size] = '\0';
    return out;
}

/* ---- JSON ---- */

/* Bytes of the UTF-8 character at @s (RFC 3629), or 0 where it is none. */
static uint32_t utf8_size(const unsigned char *s, uint32_t left)
{
    uint32_t size = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (size == 0 || s[0] > 0xf4 || size > left)
        return 0;
    for (uint32_t i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool not_a_character = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || not_a_character ? 0 : size;
}

static void print_string(FILE *out, const char *text, uint32_t size)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', out);
    for (uint32_t i = 0; i < size;) {
        uint32_t n = utf8_size(s + i, size - i);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (n > 1)
            fwrite(s + i, 1, n, out);
        else if (s[i] == '"' || s[i] == '\\')
            fprintf(out, "\\%c", s[i]);
        else if (s[i] < 0x20 || s[i] == 0x7f)
            fprintf(out, "\\u%04x", s[i]);
        else
            fputc(s[i], out);
        i += n ? n : 1;
    }
    fputc('"', out);
}

static void print_double(FILE *out, double value)
{
    if (!isfinite(value)) { /* JSON has no word for it */
        fputs("null", out);
        return;
    }
    char text[40];
    int precision = 15;
    do
        snprintf(text, sizeof text, "%.*g", precision, value);
    while (++precision <= 17 && strtod(text, NULL) != value);
    fputs(text, out);
}

static void print_bin(FILE *out, const char *bytes, uint32_t size)
{
    fputc('"', out);
    for (uint32_t i = 0; i < size; i++)
        fprintf(out, "%02x", (unsigned char)bytes[i]);
    fputc('"', out);
}

/* Anything but an array or a map. */
static void print_scalar(FILE *out, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        fputs(o->via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(out, "%" PRIu64, o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf(out, "%" PRId64, o->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        print_double(out, o->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        print_string(out, o->via.str.ptr, o->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        print_bin(out, o->via.bin.ptr, o->via.bin.size);
        break;
    case MSGPACK_OBJECT_NIL:
    case MSGPACK_OBJECT_ARRAY:
    case MSGPACK_OBJECT_MAP:
    case MSGPACK_OBJECT_EXT:
        fputs("null", out);
        break;
    }
}

/* An array or map being printed. */
struct level {
    const msgpack_object *object;
    uint32_t next;
};

static bool is_container(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_ARRAY || o->type == MSGPACK_OBJECT_MAP;
}

static uint32_t child_count(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_MAP ? o->via.map.size : o->via.array.size;
}

/* Separator, key, and the child itself, which the caller prints. */
static const msgpack_object *print_up_to_child(FILE *out, struct level *l)
{
    uint32_t i = l->next++;
    if (i > 0)
        fputs(", ", out);
    if (l->object->type == MSGPACK_OBJECT_ARRAY)
        return &l->object->via.array.ptr[i];
    const msgpack_object *key = &l->object->via.map.ptr[i].key;
    if (key->type == MSGPACK_OBJECT_STR) {
        print_scalar(out, key);
    } else { /* only strings may be keys */
        fputc('"', out);
        if (key->type != MSGPACK_OBJECT_BIN)
            print_scalar(out, key);
        fputc('"', out);
    }
    fputs(": ", out);
    return &l->object->via.map.ptr[i].val;
}

void admin_print_json(FILE *out, const msgpack_object *value)
{
    struct level levels[MSGPACK_DEPTH_MAX];
    uint32_t depth = 0;
    const msgpack_object *o = value;
    for (;;) {
        if (!is_container(o) || depth == MSGPACK_DEPTH_MAX) {
            print_scalar(out, o);
        } else {
            fputc(o->type == MSGPACK_OBJECT_MAP ? '{' : '[', out);
            levels[depth++] = (struct level){.object = o};
        }
        while (depth && levels[depth - 1].next == child_count(levels[depth - 1].object))
            fputc(levels[--depth].object->type == MSGPACK_OBJECT_MAP ? '}' : ']', out);
        if (depth == 0)
            return;
        o = print_up_to_child(out, &levels[depth - 1]);
    }
}

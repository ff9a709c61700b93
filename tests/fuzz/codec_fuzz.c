/* Bytes into the decoder: never a crash, never a value out of range, and what is accepted is
 * encoded to the same message again. */
#include <errno.h>
#include <msgpack.h>

#include "base/assert.h"
#include "rpc/msgpack_check.h"
#include "tests/support/mutate.h"
#include "tests/support/wire.h"

enum { ELEMENTS_MAX = 1000 };

/* What the check lets through, msgpack-c unpacks. */
static void check_agrees(const struct frame *f)
{
    if (msgpack_check(f->bytes, f->size, ELEMENTS_MAX) < 0)
        return;
    msgpack_zone zone;
    msgpack_zone_init(&zone, MSGPACK_ZONE_CHUNK_SIZE);
    msgpack_object root;
    size_t offset = 0;
    msgpack_unpack_return ret =
        msgpack_unpack((const char *)f->bytes, f->size, &offset, &zone, &root);
    ASSERT(ret == MSGPACK_UNPACK_SUCCESS);
    ASSERT(offset == f->size);
    msgpack_zone_destroy(&zone);
}

static void decode_again(const struct peer_message *m)
{
    static struct decoder *second;
    static struct peer_message again;
    if (!second)
        second = decoder_new();
    struct frame *f = wire_frame(m);
    int rc = codec_decode(second, f, &again);
    ASSERT(rc == 0);
    ASSERT(wire_equal(m, &again));
    decoder_clear(second);
    frame_unref(f);
}

/* What is in a relay lies in a frame of its own, so its commands are not in @f. */
static void unwrap(struct decoder *decoder, struct peer_message *m)
{
    struct frame *inner = wire_frame_of(m->relay.bytes, m->relay.size);
    int rc = codec_unwrap(decoder, m);
    ASSERT(rc == 0 || rc == -EBADMSG);
    if (rc == 0) {
        ASSERT(m->kind == PEER_PAXOS);
        decode_again(m);
    }
    int again = codec_decode(decoder, inner, m);
    ASSERT(again == 0 || rc == -EBADMSG);
    ASSERT(again < 0 || !wire_out_of_range(m, inner));
    decoder_clear(decoder);
    frame_unref(inner);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct decoder *decoder;
    static struct peer_message m;
    if (!decoder)
        decoder = decoder_new();
    struct frame *f = wire_frame_of(bytes, size);
    check_agrees(f);
    int rc = codec_decode(decoder, f, &m);
    ASSERT(rc == 0 || rc == -EBADMSG);
    if (rc == 0) {
        ASSERT(!wire_out_of_range(&m, f));
        decode_again(&m);
        if (m.kind == PEER_RELAY)
            unwrap(decoder, &m);
    }
    decoder_clear(decoder);
    ASSERT(f->refs == 1);
    frame_unref(f);
    return 0;
}

#ifndef PAXFS_LIBFUZZER
static struct wire_samples *samples;

static void seed_input(uint32_t index, struct buffer *out)
{
    int rc = codec_encode(&samples->messages[index], out);
    ASSERT(rc == 0);
}

int main(int argc, char **argv)
{
    samples = wire_samples_new(4, 12, 99);
    int rc = fuzz_main(argc, argv, WIRE_SAMPLES, 1000000, seed_input);
    wire_samples_free(samples);
    return rc;
}
#endif

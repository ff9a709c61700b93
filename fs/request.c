#include "fs/request.h"

uint8_t *request_bytes_take(struct request *r)
{
    uint8_t *bytes = r->bytes;
    r->bytes = NULL;
    return bytes;
}

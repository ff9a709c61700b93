#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

void assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "level=error event=assertion_failed expression=\"%s\" at=%s:%d\n", expression,
            file, line);
    log_dump_recent();
    abort();
}

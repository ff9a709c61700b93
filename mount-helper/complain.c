#include "mount-helper/complain.h"

#include <stdarg.h>
#include <stdio.h>

static const char *program_name = "paxfs";

void complain_as(const char *program)
{
    program_name = program;
}

void complain(const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    fflush(stdout); /* what was said before comes first */
    fprintf(stderr, "%s: %s\n", program_name, line);
}

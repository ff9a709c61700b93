/* The core does nothing but think: what its library needs from outside is this short list. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"

static const char *const allowed[] = {
    "memcpy",           "memset",
    "memcmp",           "memmove",
    "assert_failed",    "__assert_fail", /* utlist, in debug builds */
    "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_",
    "__popcountdi2" /* libgcc: __builtin_popcount */};
/* base/cursor.h, and what the sanitizers put in. */
static const char *const allowed_prefixes[] = {"cursor_",  "write_",  "writer_of",   "__asan_",
                                               "__ubsan_", "__tsan_", "__sanitizer_"};

enum { SYMBOLS_MAX = 4096 };
static char defined[SYMBOLS_MAX][128];
static size_t defined_count;

static bool is_allowed(const char *symbol)
{
    for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
        if (strcmp(symbol, allowed[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < ARRAY_COUNT(allowed_prefixes); i++) {
        if (strncmp(symbol, allowed_prefixes[i], strlen(allowed_prefixes[i])) == 0)
            return true;
    }
    for (size_t i = 0; i < defined_count; i++) {
        if (strcmp(symbol, defined[i]) == 0)
            return true;
    }
    return false;
}

/* build/bin/unit_purity -> build/consensus/libconsensus.a */
static FILE *open_symbols(const char *options)
{
    char path[PATH_MAX], command[2 * PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    cr_assert_gt(size, 0);
    path[size] = '\0';
    for (int up = 0; up < 2; up++)
        *strrchr(path, '/') = '\0';
    snprintf(command, sizeof command, "nm -P %s '%s/consensus/libconsensus.a'", options, path);
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    return f;
}

Test(purity, the_core_has_no_clock_no_memory_no_io_and_no_randomness)
{
    char line[512], symbol[128];
    FILE *f = open_symbols("-g --defined-only");
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%127s", symbol) == 1 && defined_count < SYMBOLS_MAX)
            strcpy(defined[defined_count++], symbol);
    }
    cr_assert_eq(pclose(f), 0);
    cr_assert_gt(defined_count, 50, "the library is there");
    f = open_symbols("-u");
    while (fgets(line, sizeof line, f)) {
        if (strchr(line, '[') || sscanf(line, "%127s", symbol) != 1)
            continue; /* the name of a member of the archive */
        cr_expect(is_allowed(symbol), "consensus/ uses %s", symbol);
    }
    cr_assert_eq(pclose(f), 0);
}

#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

enum { LINE_SIZE = 512, RECENT = 128 };

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static enum log_level threshold = LOG_INFO;
static const char *node_name;

static pthread_mutex_t recent_lock = PTHREAD_MUTEX_INITIALIZER;
static char recent[RECENT][LINE_SIZE];
static unsigned recent_next;

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_set_node(const char *name)
{
    node_name = name;
}

void log_event(enum log_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    size_t at = strftime(line, sizeof line, "time=%Y-%m-%dT%H:%M:%S", &tm);
    at += (size_t)snprintf(line + at, sizeof line - at, ".%03ldZ level=%s%s%s ",
                           now.tv_nsec / 1000000, level_names[level], node_name ? " node=" : "",
                           node_name ? node_name : "");

    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(line + at, sizeof line - at - 1, format, arguments);
    va_end(arguments);
    at += added < 0 ? 0 : (size_t)added;
    if (at > sizeof line - 2)
        at = sizeof line - 2;
    line[at++] = '\n';
    line[at] = '\0';

    pthread_mutex_lock(&recent_lock);
    memcpy(recent[recent_next++ % RECENT], line, at + 1);
    pthread_mutex_unlock(&recent_lock);

    if (level <= threshold) {
        ssize_t written = write(STDERR_FILENO, line, at);
        (void)written; /* nowhere left to say it */
    }
}

void log_dump_recent(void)
{
    /* No lock: the process is about to abort, possibly inside log_event(). */
    for (unsigned i = 0; i < RECENT; i++) {
        const char *line = recent[(recent_next + i) % RECENT];
        if (line[0]) {
            ssize_t written = write(STDERR_FILENO, line, strlen(line));
            (void)written;
        }
    }
}

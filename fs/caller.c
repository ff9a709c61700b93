#include "fs/caller.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATUS_SIZE_MAX 4096

static uint64_t bit_of(int signal_number)
{
    return UINT64_C(1) << (signal_number - 1);
}

/* The mask in the line that begins with @name; 0 where there is none. */
static uint64_t mask_of(const char *status, const char *name)
{
    uint64_t mask = 0;
    const char *line = strstr(status, name);
    if (!line || sscanf(line + strlen(name), " %" SCNx64, &mask) != 1)
        return 0;
    return mask;
}

/* A signal that ends a process makes the kernel give SIGKILL to each of its threads at once, except
 * where it leaves a core or a tracer is told first: then the signal itself stays pending. */
static bool is_ending(const char *status)
{
    const int harmless[] = {SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    uint64_t spared =
        mask_of(status, "\nSigBlk:") | mask_of(status, "\nSigIgn:") | mask_of(status, "\nSigCgt:");
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        spared |= bit_of(harmless[i]);
    spared &= ~bit_of(SIGKILL);
    uint64_t pending = mask_of(status, "\nSigPnd:") | mask_of(status, "\nShdPnd:");
    return (pending & ~spared) != 0;
}

bool caller_is_ending(pid_t thread)
{
    char path[32], status[STATUS_SIZE_MAX];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t size = 0;
    ssize_t rc;
    while (size < sizeof(status) - 1 &&
           (rc = read(fd, status + size, sizeof(status) - 1 - size)) > 0)
        size += (size_t)rc;
    close(fd);
    status[size] = '\0';
    return is_ending(status);
}

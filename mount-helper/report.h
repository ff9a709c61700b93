/* mount-helper/report.h: ask a daemon and print what it says: what `paxfs status`, `paxfs verify`
 * and their `dev` forms share. They complain by themselves and return the exit code. */
#ifndef MOUNT_HELPER_REPORT_H
#define MOUNT_HELPER_REPORT_H

#include <stdbool.h>

int report_status(const char *state_dir, bool json);
int report_verify(const char *state_dir, bool json);

#endif

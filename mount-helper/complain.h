/* mount-helper/complain.h: failures as a person reads them: one line "program: what: why; what to
 * do" on stderr. */
#ifndef MOUNT_HELPER_COMPLAIN_H
#define MOUNT_HELPER_COMPLAIN_H

/* The name every line begins with; borrowed for ever. */
void complain_as(const char *program);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

/* mount-helper/commands.h: the verbs of `paxfs`, one function each: arguments in (argv[0] is the
 * verb), exit code out. They print and complain by themselves. */
#ifndef MOUNT_HELPER_COMMANDS_H
#define MOUNT_HELPER_COMMANDS_H

enum { EXIT_FINE = 0, EXIT_FAILED = 1 }; /* of the verbs that say nothing else */

int command_init(int argc, char **argv);  /* init.c */
int command_mount(int argc, char **argv); /* control.c */
int command_umount(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_leader(int argc, char **argv);
int command_status(int argc, char **argv); /* report.c: 0 fine, 1 degraded, 2 not working, 3 none */
int command_verify(int argc, char **argv); /* 0 equal, 1 a member did not answer, 2 different */
int command_member(int argc, char **argv); /* member.c */
int command_join(int argc, char **argv);   /* join.c */
int command_backup(int argc, char **argv); /* backup.c */
int command_restore(int argc, char **argv); /* restore.c */
int command_recover(int argc, char **argv); /* recover.c */
int command_fsck(int argc, char **argv);    /* fsck.c: 0 well, 1 wrong, 2 not checked */
int command_dev(int argc, char **argv);     /* dev.c */

#endif

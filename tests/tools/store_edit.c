/* store_edit STATE: change one record of a stopped host's store, with all its checks and sums, as a
 * fault in apply would: the replica is whole, and not what the others are. */
#include <stdio.h>
#include <string.h>

#include "fs/inode.h"
#include "fs/store.h"

static int edit(struct store *s)
{
    struct inode root;
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = inode_get(s, FS_ROOT_INO, &root);
    root.attr.uid ^= 1;
    if (rc == 0)
        rc = inode_put(s, &root);
    if (rc) {
        store_abort(s);
        return rc;
    }
    return store_commit(s);
}

int main(int argc, char **argv)
{
    char error[512] = "";
    struct store *s = NULL;
    struct store_checkpoint *checkpoint;
    if (argc != 2)
        return 2;
    int rc = store_open(argv[1], &s, error, sizeof error);
    if (rc == 0)
        rc = edit(s);
    if (rc == 0)
        rc = store_checkpoint_begin(s, &checkpoint);
    if (rc == 0)
        rc = store_checkpoint_finish(s, checkpoint);
    store_close(s);
    if (rc)
        fprintf(stderr, "store_edit: %s %s\n", strerror(-rc), error);
    return rc != 0;
}

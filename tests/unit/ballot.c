#include <criterion/criterion.h>

#include "consensus/ballot.h"

Test(ballot, is_ordered_by_round_then_leader)
{
    cr_expect_lt(ballot_cmp((struct ballot){1, 9}, (struct ballot){2, 1}), 0);
    cr_expect_lt(ballot_cmp((struct ballot){2, 1}, (struct ballot){2, 2}), 0);
    cr_expect_eq(ballot_cmp((struct ballot){2, 2}, (struct ballot){2, 2}), 0);
    cr_expect_gt(ballot_cmp((struct ballot){UINT64_MAX, 0}, (struct ballot){1, 9}), 0);
    cr_expect(ballot_is_bottom((struct ballot){0}));
}

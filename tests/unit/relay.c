#include "rpc/relay.h"

#include <criterion/criterion.h>

#define NOW (100 * NS_PER_S)

enum { SELF = 0, TARGET = 2, NOBODY = -1 };

Test(relay, a_member_is_sent_to_through_one_that_hears_it_while_it_is_not_reached)
{
    static const struct {
        const char *name;
        bool is_up;
        uint64_t silent_ns; /* of the target */
        uint32_t hears;     /* said the target */
        bool relay_is_up;
        uint64_t relay_silent_ns;
        uint32_t relay_hears;
        int chosen;
    } cases[] = {
        {"all is well", true, 0, 7, true, 0, 7, NOBODY},
        {"silent for as long as may be", true, RELAY_AFTER_NS, 7, true, 0, 7, NOBODY},
        {"silent", true, RELAY_AFTER_NS + 1, 7, true, 0, 7, 1},
        {"silent everywhere", true, RELAY_AFTER_NS + 1, 7, true, 0, 1, NOBODY},
        {"just lost", false, RELAY_AFTER_NS, 0, true, 0, 7, NOBODY},
        {"not connected", false, RELAY_AFTER_NS + 1, 0, true, 0, 7, 1},
        {"heard, but does not hear", true, 0, 6, true, 0, 7, 1},
        {"nor is the other connected", true, NOW, 7, false, 0, 7, NOBODY},
        {"nor is the other heard", true, NOW, 7, true, HEARS_NS + 1, 7, NOBODY},
        {"the other is heard just yet", true, NOW, 7, true, HEARS_NS, 7, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct relay_link links[3] = {
            [1] = {cases[i].relay_is_up, NOW - cases[i].relay_silent_ns, cases[i].relay_hears},
            [TARGET] = {cases[i].is_up, NOW - cases[i].silent_ns, cases[i].hears},
        };
        cr_expect_eq(relay_choose(links, 3, SELF, TARGET, NOBODY, NOW), cases[i].chosen, "%s",
                     cases[i].name);
        cr_expect_eq(relay_choose(links, 3, SELF, SELF, NOBODY, NOW), NOBODY);
    }
}

Test(relay, who_relays_is_kept_while_it_can)
{
    struct relay_link links[4] = {
        [1] = {true, NOW, 15}, [2] = {true, 0, 15}, [3] = {true, NOW, 15}};
    cr_expect_eq(relay_choose(links, 4, SELF, TARGET, NOBODY, NOW), 1);
    cr_expect_eq(relay_choose(links, 4, SELF, TARGET, 3, NOW), 3);
    links[3].hears = 0;
    cr_expect_eq(relay_choose(links, 4, SELF, TARGET, 3, NOW), 1);
}

Test(relay, tells_of_those_that_are_heard_and_of_no_other)
{
    struct relay_link links[4] = {
        [1] = {true, NOW - HEARS_NS, 0},
        [2] = {true, NOW - HEARS_NS - 1, 0},
        [3] = {false, NOW, 0},
    };
    cr_expect_eq(relay_hears(links, 4, NOW), 2);
    links[2].heard_ns = NOW + 1; /* since @now was taken */
    cr_expect_eq(relay_hears(links, 4, NOW), 6);
}

#include <criterion/criterion.h>

#include "consensus/configuration.h"

Test(configuration, a_majority_is_counted_among_the_voters_alone)
{
    static const struct {
        const char *name;
        uint32_t mask, voters;
        bool is_majority;
    } cases[] = {
        {"two of three", 0x3, 0x7, true}, {"one of three", 0x1, 0x7, false},
        {"two of four", 0x3, 0xf, false}, {"learners do not count", 0x39, 0x7, false},
        {"the only one", 0x4, 0x4, true}, {"nobody of one", 0x3, 0x4, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(configuration_is_majority(cases[i].mask, cases[i].voters),
                     cases[i].is_majority, "%s", cases[i].name);
}

Test(configuration, of_slots_on_both_sides_of_a_change_a_majority_of_both_is_needed)
{
    struct configuration c = {.from = 100, .voters_before = 0x7, .voters = 0x38};
    cr_expect(configuration_is_majority_for(&c, 0x3, 1, 99));
    cr_expect_not(configuration_is_majority_for(&c, 0x3, 1, 100));
    cr_expect_not(configuration_is_majority_for(&c, 0x30, 99, 100));
    cr_expect(configuration_is_majority_for(&c, 0x30, 100, 200));
    cr_expect(configuration_is_majority_for(&c, 0x33, 1, 200));
}

Test(configuration, a_free_seat_is_nobodys)
{
    struct configuration c = {.members = {5, 0, 9}};
    cr_expect_eq(configuration_everyone(&c), 0x5);
    cr_expect_eq(configuration_seat(&c, 9), 2);
    cr_expect_eq(configuration_seat(&c, 0), MEMBERS_MAX);
    cr_expect_eq(configuration_seat(&c, 7), MEMBERS_MAX);
}

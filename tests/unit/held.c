#include <criterion/criterion.h>

#include "node/held.h"

static struct command make_command(void)
{
    return (struct command){.refs = 1, .node = 7, .sequence = 1};
}

static struct send p2a_after(uint64_t after, struct pvalue *pvalues, uint32_t count)
{
    return (struct send){
        .to = 1,
        .after = after,
        .message = {.kind = MESSAGE_P2A, .p2a = {.count = count, .pvalues = pvalues}}};
}

Test(held, keeps_its_own_copy_of_the_message_and_its_commands)
{
    struct held_list list;
    held_list_init(&list);
    struct command c = make_command();
    struct pvalue pvalue = {.slot = 5, .command = &c};
    struct send send = p2a_after(0, &pvalue, 1);
    cr_assert_eq(held_list_add(&list, &send), 0);
    cr_expect_eq(c.refs, 2);
    pvalue.slot = 99;

    struct held *h = held_list_take(&list, 0);
    cr_assert_not_null(h);
    cr_expect_eq(h->message.p2a.pvalues[0].slot, 5);
    held_free(h);
    cr_expect_eq(c.refs, 1);
}

Test(held, lets_go_only_what_is_durable_and_in_order)
{
    struct held_list list;
    held_list_init(&list);
    struct command c = make_command();
    struct pvalue pvalues[] = {
        {.slot = 1, .command = &c}, {.slot = 2, .command = &c}, {.slot = 3, .command = &c}};
    const uint64_t after[] = {5, 3, 5};
    for (int i = 0; i < 3; i++) {
        struct send send = p2a_after(after[i], &pvalues[i], 1);
        cr_assert_eq(held_list_add(&list, &send), 0);
    }
    cr_expect_null(held_list_take(&list, 2));
    const uint64_t slots[] = {2, 1, 3};
    for (int i = 0; i < 3; i++) {
        struct held *h = held_list_take(&list, i == 0 ? 4 : 5);
        cr_assert_not_null(h);
        cr_expect_eq(h->message.p2a.pvalues[0].slot, slots[i]);
        held_free(h);
    }
    struct send send = p2a_after(1, pvalues, 1); /* the tail is still right after taking the last */
    cr_assert_eq(held_list_add(&list, &send), 0);
    held_list_deinit(&list);
    cr_expect_eq(c.refs, 1);
}

Test(held, copies_the_holders_of_p1b_and_release)
{
    struct held_list list;
    held_list_init(&list);
    struct command c = make_command();
    struct pvalue pvalue = {.slot = 5, .command = &c};
    struct holder holders[] = {{1, 2, 3}, {4, 5, 6}};
    struct send p1b = {.to = 1, .message.kind = MESSAGE_P1B};
    p1b.message.p1b.count = 1;
    p1b.message.p1b.pvalues = &pvalue;
    p1b.message.p1b.holder_count = 2;
    p1b.message.p1b.holders = holders;
    struct send release = {.to = 1, .message.kind = MESSAGE_RELEASE};
    release.message.release.holder_count = 2;
    release.message.release.holders = holders;
    cr_assert_eq(held_list_add(&list, &p1b), 0);
    cr_assert_eq(held_list_add(&list, &release), 0);
    holders[1].left_ns = 0;
    pvalue.slot = 0;
    struct held *first = held_list_take(&list, 0), *second = held_list_take(&list, 0);
    cr_expect_eq(first->message.p1b.holders[1].left_ns, 6);
    cr_expect_eq(first->message.p1b.pvalues[0].slot, 5);
    cr_expect_eq(first->commands[0], &c);
    cr_expect_eq(second->message.release.holders[1].left_ns, 6);
    held_free(first);
    held_free(second);
    cr_expect_eq(c.refs, 1);
}

Test(held, copies_the_arrays_of_every_kind_that_has_one)
{
    struct held_list list;
    held_list_init(&list);
    uint64_t slots[] = {1, 2};
    struct command c = make_command(), *commands[] = {&c, &c};
    struct send sends[] = {
        {.to = 1, .message = {.kind = MESSAGE_P2B, .p2b = {.count = 2, .slots = slots}}},
        {.to = 1,
         .message = {.kind = MESSAGE_SUBMIT, .submit = {.count = 2, .commands = commands}}},
        {.to = 1, .message = {.kind = MESSAGE_HEARTBEAT, .heartbeat = {.sent_ns = 4}}},
    };
    for (int i = 0; i < 3; i++)
        cr_assert_eq(held_list_add(&list, &sends[i]), 0);
    slots[1] = 0;
    commands[1] = NULL;
    struct held *p2b = held_list_take(&list, 0), *submit = held_list_take(&list, 0),
                *heartbeat = held_list_take(&list, 0);
    cr_expect_eq(p2b->message.p2b.slots[1], 2);
    cr_expect_eq(submit->message.submit.commands[1], &c);
    cr_expect_eq(heartbeat->message.heartbeat.sent_ns, 4);
    held_free(p2b);
    held_free(submit);
    held_free(heartbeat);
    cr_expect_eq(c.refs, 1);
}

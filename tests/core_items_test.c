/* Items made of others many at once, copied, joined and taken apart again. */
#include "core_rig.h"

typedef struct ends {
    uint64_t n;
    weir_outcome outcome;
} ends;

static void tell(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)status;
    ends *e = *(ends **)weir_item_body(item);
    e->n++;
    e->outcome = outcome;
}

static const weir_item_type told_type = { .name = "told", .ended = tell };
static const weir_item_type plain_type = { .name = "plain" };

typedef struct bench {
    weir_testkit *kit;
    weir_loop *loop;
} bench;

static bench bench_new(void)
{
    bench b = { .kit = weir_testkit_new(1, 1) };
    b.loop = weir_testkit_loop(b.kit, 0);
    return b;
}

static void bench_done(bench *b)
{
    assert_true(weir_testkit_settle(b->kit));
    assert_int_equal(weir_testkit_free(b->kit), 0);
}

static weir_item *told(bench *b, ends *e)
{
    weir_item *item = must(weir_item_new(b->loop, &told_type, sizeof e));
    *(ends **)weir_item_body(item) = e;
    return item;
}

static void many_children_hold_their_parent_each(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e = { 0 };
    weir_item *parent = told(&b, &e), *children[40];
    parent->key = 5;
    assert_int_equal(weir_items_new(b.loop, NULL, 0, children, 40), 40);
    children[1]->key = 6;
    assert_int_equal(weir_item_derive_all(children, 40, parent), WEIR_OK);
    assert_int_equal(children[0]->key, 5);
    assert_int_equal(children[1]->key, 6);
    weir_item_ack(parent);
    weir_item_end(children[3], WEIR_REJECTED, WEIR_EREJECTED);
    weir_items_ack(children, 3);
    weir_items_ack(children + 4, 35);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e.n, 0);
    weir_item_ack(children[39]);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e.n, 1);
    assert_int_equal(e.outcome, WEIR_REJECTED);
    bench_done(&b);
}

static void siblings_that_are_acked_together_end_their_parents(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e[2] = { { 0 } };
    weir_item *children[20];
    assert_int_equal(weir_items_new(b.loop, NULL, 0, children, 20), 20);
    for (int i = 0; i < 2; i++) {
        weir_item *parent = told(&b, &e[i]);
        assert_int_equal(weir_item_derive_all(children + i * 10, 10, parent), WEIR_OK);
        weir_item_ack(parent);
    }
    weir_items_ack(children, 20);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e[0].n, 1);
    assert_int_equal(e[1].n, 1);
    assert_int_equal(e[0].outcome, WEIR_ACKED);
    bench_done(&b);
}

static void children_beyond_the_holds_are_refused_and_nothing_changed(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e = { 0 };
    weir_item *parent = told(&b, &e), *children[255];
    assert_int_equal(weir_items_new(b.loop, NULL, 0, children, 255), 255);
    assert_int_equal(weir_item_derive_all(children, 255, parent), WEIR_ELIMIT);
    assert_int_equal(parent->holds, 1);
    assert_null(children[0]->parent);
    assert_int_equal(weir_item_derive_all(children, 254, parent), WEIR_OK);
    weir_items_ack(children, 255);
    weir_item_ack(parent);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e.n, 1);
    bench_done(&b);
}

static void a_copy_has_all_but_a_parent(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e = { 0 };
    weir_item *item = must(weir_item_new(b.loop, &plain_type, 8)), *copy = NULL;
    *(uint64_t *)weir_item_body(item) = 77;
    item->key = 9;
    item->cost = 33;
    assert_int_equal(weir_item_copy(b.loop, item, &copy), WEIR_OK);
    assert_ptr_not_equal(copy->body, item->body);
    assert_int_equal(*(uint64_t *)weir_item_body(copy), 77);
    assert_int_equal(copy->key, 9);
    assert_int_equal(copy->cost, 33);
    assert_ptr_equal(copy->type, &plain_type);
    assert_null(copy->parent);
    assert_int_equal(item->holds, 1);
    weir_item_ack(copy);
    weir_item_ack(item);
    item = told(&b, &e);
    assert_int_equal(weir_item_copy(b.loop, item, &copy), WEIR_EUNSUPPORTED);
    weir_item_ack(item);
    bench_done(&b);
}

/* Two told items, joined. */
static weir_item *joined_of(bench *b, ends *e)
{
    weir_item *members[2] = { told(b, &e[0]), told(b, &e[1]) }, *joined = NULL;
    assert_int_equal(weir_items_join(b->loop, members, 2, &joined), WEIR_OK);
    return joined;
}

static void members_that_are_taken_out_end_by_themselves(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e[2] = { { 0 } };
    weir_item *joined = joined_of(&b, e);
    const weir_items *members = NULL;
    assert_int_equal(weir_items_split(b.loop, joined, &members), WEIR_OK);
    assert_int_equal(members->n, 2);
    weir_item *first = members->items[0], *second = members->items[1];
    assert_null(weir_item_members(joined)); /* what is left is none */
    weir_item_end(joined, WEIR_FAILED, WEIR_EIO);
    weir_item_ack(first);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e[0].outcome, WEIR_ACKED);
    assert_int_equal(e[0].n, 1);
    assert_int_equal(e[1].n, 0);
    weir_item_end(second, WEIR_REJECTED, WEIR_EREJECTED);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e[1].outcome, WEIR_REJECTED);
    bench_done(&b);
}

static void members_stay_in_what_others_hold_or_was_made_of_another(void **unused)
{
    (void)unused;
    bench b = bench_new();
    ends e[2] = { { 0 } };
    const weir_items *members = NULL;
    weir_item *joined = joined_of(&b, e), *clone = NULL,
              *plain = must(weir_item_new(b.loop, NULL, 8));
    assert_int_equal(weir_items_split(b.loop, plain, &members), WEIR_EINVAL);
    assert_int_equal(weir_item_hold(joined), WEIR_OK);
    assert_int_equal(weir_items_split(b.loop, joined, &members), WEIR_EUNSUPPORTED);
    assert_int_equal(weir_item_clone(b.loop, joined, &clone), WEIR_OK);
    assert_int_equal(weir_items_split(b.loop, clone, &members), WEIR_EUNSUPPORTED);
    weir_item_ack(clone);
    weir_item_ack(joined);
    weir_item_ack(plain);
    assert_true(weir_testkit_settle(b.kit));
    assert_int_equal(e[0].n + e[1].n, 2);
    bench_done(&b);
}

static void shared_members_are_taken_out_only_on_their_own_loop(void **unused)
{
    (void)unused;
    weir_testkit *kit = weir_testkit_new(2, 1);
    bench b = { kit, weir_testkit_loop(kit, 0) };
    ends e = { 0 };
    weir_item *item = told(&b, &e), *joined = NULL;
    const weir_items *members = NULL;
    assert_int_equal(weir_item_hold(item), WEIR_OK);
    assert_int_equal(weir_items_join(b.loop, &item, 1, &joined), WEIR_OK);
    assert_int_equal(weir_items_split(weir_testkit_loop(kit, 1), joined, &members),
                     WEIR_EUNSUPPORTED);
    assert_int_equal(weir_items_split(b.loop, joined, &members), WEIR_OK);
    weir_item_ack(members->items[0]);
    weir_item_ack(joined);
    weir_item_ack(item);
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(e.n, 1);
    bench_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_children_hold_their_parent_each),
        cmocka_unit_test(siblings_that_are_acked_together_end_their_parents),
        cmocka_unit_test(children_beyond_the_holds_are_refused_and_nothing_changed),
        cmocka_unit_test(a_copy_has_all_but_a_parent),
        cmocka_unit_test(members_that_are_taken_out_end_by_themselves),
        cmocka_unit_test(members_stay_in_what_others_hold_or_was_made_of_another),
        cmocka_unit_test(shared_members_are_taken_out_only_on_their_own_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

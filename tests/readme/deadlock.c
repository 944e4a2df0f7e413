/* The README's deadlock: a filter on one of two paths that meet again, and what weir says of it. */
#include <weir/weir.h>

#include <stdio.h>
#include <string.h>

static bool is_worth_it(const weir_item *item, void *user)
{
    (void)user;
    return *(const uint64_t *)weir_item_body(item) % 100 == 0;
}

static weir_status count(weir_item *item, void *user)
{
    (void)item;
    ++*(uint64_t *)user;
    return WEIR_OK;
}

static weir_status look(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

/* One path drops items that the other still has: soon no pair can be made any more. */
static void wire(weir_pipeline *p, uint64_t *joined)
{
    weir_from(p, weir_range(1, 1000));
    weir_node *split = weir_via(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *worth = weir_add(p, weir_filter(is_worth_it, NULL));
    weir_node *all = weir_add(p, weir_map(look, NULL));
    weir_node *pair = weir_add(p, weir_zip());
    weir_link(split, 0, worth, 0, NULL);
    weir_link(split, 1, all, 0, NULL);
    weir_link(worth, 0, pair, 0, NULL);
    weir_link(all, 0, pair, 1, NULL);
    weir_at(p, pair);
    weir_into(p, weir_for_each(count, joined));
}

/* As the README has it. */
static const char circle[] =
    "deadlock: broadcast waits for credit of map, map waits for credit of zip, "
    "zip waits for items of filter, filter waits for items of broadcast";

int main(void)
{
    uint64_t joined = 0;
    char text[512];
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    wire(p, &joined);
    if (weir_testkit_start(kit, p) != WEIR_OK)
        return 1;
    weir_pipeline_deadlock(p, text, sizeof text);
    puts(text);
    weir_pipeline_shutdown(p, WEIR_ABORT, 0);
    weir_testkit_settle(kit);
    weir_pipeline_free(p);
    return weir_testkit_free(kit) == 0 && strcmp(text, circle) == 0 && joined == 0 ? 0 : 1;
}

/* The README's work in processes of its own: one item in a hundred crashes its worker. */
#include <weir/weir.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In a worker: reads a number, and writes its square. */
static weir_status square(const void *in, size_t in_bytes, weir_isolate_output *out, void *user)
{
    uint64_t n;
    (void)user;
    if (in_bytes != sizeof n)
        return WEIR_EINVAL;
    memcpy(&n, in, sizeof n);
    if (n == 13)
        abort();
    n *= n;
    return weir_isolate_write(out, &n, sizeof n);
}

/* What of the item a worker gets to see. */
static weir_status number(const weir_item *item, weir_isolate_bytes *ret_in, void *user)
{
    (void)user;
    *ret_in = (weir_isolate_bytes){ weir_item_body(item), sizeof(uint64_t) };
    return WEIR_OK;
}

static weir_status add(weir_item *item, void *user)
{
    const weir_isolate_bytes *made = weir_item_body(item);
    uint64_t n;
    if (made->n != sizeof n) /* a worker may say what it likes */
        return WEIR_EPROTO;
    memcpy(&n, made->bytes, sizeof n);
    *(uint64_t *)user += n;
    return WEIR_OK;
}

int main(void)
{
    static const weir_isolate_work works[] = { { .name = "square", .run = square } };
    weir_isolate_helper *helper;
    if (weir_isolate_helper_new(NULL, works, 1, &helper) != WEIR_OK) /* first thing in main */
        return 1;

    weir_isolate_stats stats = { 0 };
    uint64_t sum = 0;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 1 });
    weir_from(p, weir_range(1, 100));
    weir_node *node = weir_via(
        p,
        weir_isolate(&(weir_isolate_config){
            .helper = helper, .work = "square", .input = number, .workers = 2, .stats = &stats }));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    weir_into(p, weir_for_each(add, &sum));
    weir_status status = weir_run(p);
    if (status != WEIR_OK)
        fprintf(stderr, "isolate: %s\n", weir_pipeline_why(p));
    weir_pipeline_free(p);
    weir_isolate_helper_free(helper);

    weir_isolate_stats_get(&stats, &stats);
    printf("isolate: %d done, %d crash, %d item lost\n", (int)stats.items, (int)stats.crashes,
           (int)stats.items_failed);
    bool is_right = stats.items == 99 && stats.crashes == 1 && sum == 338350 - 13 * 13;
    return status == WEIR_OK && is_right ? 0 : 1;
}

/* generate and range: sources that make items as they are asked for. */
#include <weir/stages.h>

#include <string.h>

#include "queue.h"

enum { VECTOR_MAX = 64 };

typedef struct generate_config {
    weir_status (*next)(weir_loop *loop, uint64_t index, void *user, weir_item **ret_made);
    void *user;
    uint64_t first, n;
} generate_config;

typedef struct generate {
    uint64_t made;
    weir_item *ready[VECTOR_MAX]; /* made for demand there was; what bytes have no room for stays */
    uint32_t n_ready;
    bool is_over;
    weir_status status;
} generate;

static weir_status generate_check(const void *config, const char **why)
{
    *why = "needs a function";
    return ((const generate_config *)config)->next != NULL ? WEIR_OK : WEIR_EINVAL;
}

static uint32_t fill_by_next(weir_stage *stage, generate *g, uint32_t n)
{
    const generate_config *config = weir_stage_config(stage);
    uint32_t got = 0;
    for (; got < n && !g->is_over; got++, g->made++) {
        weir_item *made = NULL;
        g->status = config->next(weir_stage_loop(stage), g->made, config->user, &made);
        g->is_over = g->status != WEIR_OK || made == NULL;
        if (g->status != WEIR_OK && made != NULL)
            weir_item_end(made, WEIR_ABORTED, g->status);
        if (g->is_over)
            break;
        g->ready[got] = made;
    }
    return got;
}

static uint32_t fill_by_range(weir_stage *stage, generate *g, uint32_t n)
{
    const generate_config *config = weir_stage_config(stage);
    n = n < config->n - g->made ? n : (uint32_t)(config->n - g->made);
    uint32_t got = (uint32_t)weir_items_new(weir_stage_loop(stage), NULL, sizeof(uint64_t),
                                            g->ready, n);
    for (uint32_t i = 0; i < got; i++)
        *(uint64_t *)weir_item_body(g->ready[i]) = config->first + g->made++;
    g->status = got < n ? WEIR_ENOMEM : WEIR_OK;
    g->is_over = got < n || g->made == config->n;
    return got;
}

static uint32_t fill(weir_stage *stage, generate *g, uint64_t credit)
{
    bool by_next = ((const generate_config *)weir_stage_config(stage))->next != NULL;
    uint32_t n = credit < VECTOR_MAX ? (uint32_t)credit : VECTOR_MAX;
    return by_next ? fill_by_next(stage, g, n) : fill_by_range(stage, g, n);
}

static void generate_run(weir_stage *stage, void *state)
{
    generate *g = state;
    weir_out *out = weir_stage_out(stage);
    g->is_over |= weir_stage_is_draining(stage);
    do {
        uint64_t credit = weir_out_credit(out);
        if (g->n_ready == 0 && !g->is_over && credit > 0)
            g->n_ready = fill(stage, g, credit);
        uint32_t gone = wi_emit_fitting(out, g->ready, g->n_ready);
        g->n_ready -= gone;
        memmove(g->ready, g->ready + gone, g->n_ready * sizeof *g->ready);
    } while (g->n_ready == 0 && !g->is_over && weir_out_credit(out) > 0);
    if (g->is_over && g->n_ready == 0)
        weir_end_error(out, g->status);
}

static void generate_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    generate *g = state;
    wi_abort_items(g->ready, g->n_ready);
    g->n_ready = 0;
}

/* An end needs no demand. */
static weir_status range_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    ((generate *)state)->is_over = ((const generate_config *)config)->n == 0;
    return WEIR_OK;
}

#define GENERATE_TYPE(name_, check_, open_)                                                      \
    {                                                                                            \
        .name = (name_), .config_size = sizeof(generate_config), .state_size = sizeof(generate), \
        .inputs = WEIR_PORTS_NONE, .check = (check_), .open = (open_), .run = generate_run,      \
        .let_go = generate_let_go                                                                \
    }

static const weir_stage_type generate_type = GENERATE_TYPE("generate", generate_check, NULL);
static const weir_stage_type range_type = GENERATE_TYPE("range", NULL, range_open);

weir_stage_spec *weir_generate(weir_status (*next)(weir_loop *loop, uint64_t index, void *user,
                                                   weir_item **ret_made),
                               void *user)
{
    return weir_stage_of(&generate_type, &(generate_config){ .next = next, .user = user });
}

weir_stage_spec *weir_range(uint64_t first, uint64_t n)
{
    return weir_stage_of(&range_type, &(generate_config){ .first = first, .n = n });
}

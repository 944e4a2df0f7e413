/* The bench of the Reactive Streams rules: a row of the stage table with a probe stage of our own
 * on each of its edges, on virtual loops that are turned one by one.
 *
 * Everything here stands on the public headers; the probes see the raw traffic: credit as it comes
 * up, items and terminals as they go down, cancels, open and close, the depth of the stack, and
 * which loop's turn they run in. */
#ifndef TCK_H
#define TCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/testkit.h>

#include "table.h"

enum {
    TCK_LOOPS = 4,
    TCK_PORTS = 16,  /* probes above, and as many below; a row has half of them at most */
    TCK_ITEMS = 512, /* of a source */
    TCK_CHAIN = 6,
    TCK_MUCH = 1000, /* what is asked of a row that may never end, instead of all */
    TCK_WHY = 240,
};

/* Who is tested: rows with outputs, with inputs, with both, or any. */
typedef enum tck_role { TCK_ANY, TCK_PUBLISHER, TCK_SUBSCRIBER, TCK_PROCESSOR } tck_role;

typedef struct tck tck;

/* What lies at the front of an item of ours. Stages of the table may write `value`. */
typedef struct tck_body {
    uint64_t value, magic;
    struct tck_source *from; /* NULL in a clone */
    uint32_t source, seq;
} tck_body;

/* The probe above an input of the row. */
typedef struct tck_source {
    tck *t;
    weir_stage *stage; /* NULL before open and after close */
    uint32_t index;
    uint64_t allowed, emitted; /* the items it may emit, and did */
    uint64_t granted;          /* emitted and credit, as last seen */
    uint64_t demands, cancels, aborts, after_end, wrong_credits;
    uint64_t ends, ended_twice, outcomes[WEIR_FAILED + 1]; /* of its items */
    uint32_t opened, closed;
    bool ends_in_open, ends_when_dry, ended, cancelled;
    weir_status status;
    uint8_t items_ended[TCK_ITEMS];
} tck_source;

/* The probe below an output of the row. */
typedef struct tck_sink {
    tck *t;
    weir_stage *stage;
    uint32_t index;
    uint64_t ask_in_open, ask_per_item; /* to be set before the start */
    uint64_t cancel_at;                 /* cancels with the nth item; UINT64_MAX: never */
    bool cancel_in_open, checks_calls;
    uint64_t requested, received, leaves; /* leaves: members of joined items count each */
    uint64_t over_asked, after_over, after_cancel, over_credit, out_of_order, corrupt, twice,
        bad_calls;
    uint32_t opened, closed, overs;
    bool cancelled, is_over;
    weir_status status;
    uint32_t next_seq[TCK_PORTS], next_of_key[TCK_PORTS][3];
    uint8_t seen[TCK_PORTS][TCK_ITEMS];
} tck_sink;

/* The engine as the probes call it: a wrong one shows that the rules which no stage can break are
 * checked too. */
typedef struct tck_engine {
    weir_status (*request)(tck *t, weir_in *in, uint64_t n);
    void (*cancel)(tck *t, weir_in *in);
    uint64_t (*outstanding)(tck *t, const weir_in *in);
    void (*emit)(tck *t, weir_out *out, weir_item *item);
    void (*end)(tck *t, weir_out *out, weir_status status);
    weir_status (*check)(tck *t, weir_pipeline *pipeline);
    weir_status (*start)(tck *t, weir_pipeline *pipeline);
} tck_engine;

struct tck {
    const stage_row *row;
    const tck_engine *engine;
    uint32_t loops, window;
    uint32_t chain; /* so many of the row in a chain; 0: one */
    uint32_t twins; /* so many graphs side by side; 0: one */
    uint64_t wanted;
    bool is_started;
    bool has_threads; /* weir_run: the probes keep to themselves */

    weir_testkit *kit; /* lends its counting allocator */
    weir_env env;
    uint64_t now_ns, random, seed;
    weir_loop *loop[TCK_LOOPS], *turning;
    weir_pipeline *pipeline;
    uint32_t n_in, n_out, row_index; /* of its first node in the pipeline */
    tck_source in[TCK_PORTS];
    tck_sink out[TCK_PORTS];

    char *base; /* of the stack, where the turns begin */
    uint64_t callbacks, nested, on_foreign_loop, before_open;
    size_t depth_max;
    bool in_callback;

    bool failed;
    char why[TCK_WHY];
};

/* Notes what was seen; the first counts. */
void tck_fail(tck *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Fails unless `condition`; says whether it held. */
#define TCK(t, condition, ...) ((condition) ? true : (tck_fail((t), __VA_ARGS__), false))

/* ---- bench.c ---- */

/* The seed decides the order of turns. */
void tck_init(tck *t, const stage_row *row, const tck_engine *engine, uint32_t loops,
              uint32_t window, uint64_t seed);
/* Builds and starts; false if that failed, which is noted. */
bool tck_start(tck *t);
/* Aborts what still runs and checks what always holds: it ends, every item has ended once, nothing
 * leaks. After a failure it frees nothing. */
void tck_close(tck *t);
/* Runs it all on threads of its own instead, until it ends: the sources emit what they were fed
 * before and end, the sinks ask for all. */
bool tck_run_on_threads(tck *t);
/* A second run of the same case. */
void tck_again(tck *t);
/* A pipeline with the row's nodes and probes, not started; NULL after a failure. */
weir_pipeline *tck_build(tck *t);
weir_node *tck_add_source(tck *t, weir_pipeline *p, uint32_t index);
weir_node *tck_add_sink(tck *t, weir_pipeline *p, uint32_t index);
weir_node *tck_add_row(tck *t, weir_pipeline *p);

/* Turns loops until none does anything. */
void tck_settle(tck *t);
void tck_turn(tck *t, uint32_t loop);
/* Settles; with a timed row lets time pass until the condition holds. Gives whether it does. */
bool tck_wait(tck *t, bool (*holds)(const tck *t));
/* Lets come what may still come. */
void tck_idle(tck *t);
bool tck_is_finished(const tck *t);
/* Every output has seen its terminal or was cancelled; without outputs: all is finished. */
bool tck_all_over(const tck *t);
bool tck_all_emitted(const tck *t); /* the sources have emitted what they were fed */
/* Waits for that; an input that is over lets the next have its turn, where it is taken in turn:
 * each that has emitted all is ended until the others have too. */
bool tck_all_taken(tck *t);
bool tck_got_wanted(const tck *t);   /* the sinks have received `wanted` in all */
bool tck_sources_told(const tck *t); /* each source has ended or was cancelled */
uint64_t tck_row_items_in(const tck *t);

/* ---- probes.c ---- */

weir_stage_spec *tck_source_spec(tck_source *source);
weir_stage_spec *tck_sink_spec(tck_sink *sink);
/* The source may emit `n` more. */
void tck_feed(tck *t, uint32_t in, uint64_t n);
void tck_feed_all(tck *t, uint64_t n);
void tck_end(tck *t, uint32_t in, weir_status status);
/* Ends all sources; a row without inputs is drained. */
void tck_end_all(tck *t, weir_status status);
uint64_t tck_credit(const tck *t, uint32_t in);
uint64_t tck_credits(const tck *t);
weir_status tck_ask(tck *t, uint32_t out, uint64_t n);
void tck_ask_all(tck *t, uint64_t n);
/* WEIR_UNBOUNDED, or TCK_MUCH of a row that may never end. */
uint64_t tck_all(const tck *t);
/* To be set before the start: sinks that ask by themselves; a row that may never end is cancelled
 * in good time. */
void tck_ask_as_it_comes(tck *t, uint64_t in_open, uint64_t per_item);
/* The same, and they see that calls from within any callback return normally. */
void tck_check_calls(tck *t);
void tck_cancel(tck *t, uint32_t out);
void tck_cancel_all(tck *t);
uint64_t tck_outstanding(tck *t, uint32_t out);
uint64_t tck_received(const tck *t);
/* Members counted; of a row that copies, what came to the first output: others may miss some. */
uint64_t tck_leaves(const tck *t);
uint64_t tck_emitted(const tck *t);
uint64_t tck_live(const tck *t);
/* For wrong engines: what only the engine may do, done beneath whatever runs. */
void tck_fake_item(tck *t, uint32_t out);
void tck_fake_over(tck *t, uint32_t out);
void tck_fake_demand(tck *t, uint32_t in);
void tck_fake_cancel(tck *t, uint32_t in);
void tck_fake_open(tck *t, uint32_t out);

/* ---- What the traits promise ---- */

static inline bool tck_has(const tck *t, uint32_t traits)
{
    return (t->row->traits & traits) != 0;
}
/* What comes out when `n` went in, members counted; UINT64_MAX: the traits do not say. */
uint64_t tck_expected(const tck *t, uint64_t n);
/* Nothing comes but what was sent, and nothing ends before it is told. */
static inline bool tck_is_steady(const tck *t)
{
    return !tck_has(t, STAGE_ENDS | STAGE_INVENTS);
}

/* ---- The rules: publisher.c, subscriber.c, subscription.c ---- */

typedef struct tck_rule {
    const char *id, *says, *how;
    tck_role role;
    void (*run)(tck *t);
} tck_rule;

bool tck_applies(const tck_rule *rule, const stage_row *row);

void rule_1_01(tck *t), rule_1_02(tck *t), rule_1_03(tck *t), rule_1_04(tck *t), rule_1_05(tck *t),
    rule_1_06(tck *t), rule_1_07(tck *t), rule_1_08(tck *t), rule_1_09(tck *t), rule_1_10(tck *t),
    rule_1_11(tck *t);
void rule_2_01(tck *t), rule_2_02(tck *t), rule_2_03(tck *t), rule_2_04(tck *t), rule_2_05(tck *t),
    rule_2_06(tck *t), rule_2_07(tck *t), rule_2_08(tck *t), rule_2_09(tck *t), rule_2_10(tck *t),
    rule_2_11(tck *t), rule_2_12(tck *t), rule_2_13(tck *t);
void rule_3_01(tck *t), rule_3_02(tck *t), rule_3_03(tck *t), rule_3_04(tck *t), rule_3_05(tck *t),
    rule_3_06(tck *t), rule_3_07(tck *t), rule_3_08(tck *t), rule_3_09(tck *t), rule_3_10(tck *t),
    rule_3_11(tck *t), rule_3_12(tck *t), rule_3_13(tck *t), rule_3_14(tck *t), rule_3_15(tck *t),
    rule_3_16(tck *t), rule_3_17(tck *t);
void rule_4_01(tck *t), rule_4_02(tck *t);

/* ---- wrong.c: stages and engines that break one rule each ---- */

typedef struct tck_wrong {
    const char *does, *rule;
    stage_row row;
    tck_engine engine; /* NULL: the real one's */
} tck_wrong;

const tck_wrong *tck_wrong_at(size_t index); /* NULL beyond the last */
/* wrong_ends.c: the same of sources and sinks. */
const tck_wrong *tck_wrong_end_at(size_t index);

/* ---- right.c: stages of shapes that the table may lack; every rule must let them pass ---- */

const stage_row *tck_right_at(size_t index); /* NULL beyond the last */

#endif

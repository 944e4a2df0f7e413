/* The testkit: loops on virtual time, an allocator that counts and fails, and probes at both ends
 * of a pipeline, for tests of stages.
 *
 * One thread does everything: it feeds a source probe, requests at a sink probe, settles or
 * advances the kit, and looks at what happened. Nothing sleeps, nothing is random but by the seed.
 *
 *     weir_testkit *kit = weir_testkit_new(1, 7);
 *     weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
 *     weir_pipeline *p = weir_testkit_pipeline(kit);
 *     weir_from(p, weir_probe_source(from));
 *     weir_via(p, weir_map(twice, NULL));
 *     weir_into(p, weir_probe_sink(to));
 *     assert(weir_testkit_start(kit, p) == WEIR_OK);
 *     weir_probe_feed(from, 21);
 *     weir_probe_request(to, 1);
 *     weir_testkit_settle(kit);
 *     assert(weir_probe_expect(to, 1, (uint64_t[]){ 42 }));
 *     weir_probe_end(from);
 *     assert(weir_testkit_expect_clean(kit));   otherwise: weir_testkit_why(kit)
 *     weir_pipeline_free(p);
 *     assert(weir_testkit_free(kit) == 0);
 *
 * All calls: the kit's thread, between turns or from a callback of a stage; none from another. */
#ifndef WEIR_TESTKIT_H
#define WEIR_TESTKIT_H

#include <weir/pipeline.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_testkit weir_testkit;
typedef struct weir_probe weir_probe;
typedef struct weir_testkit_walk weir_testkit_walk;

enum { WEIR_TESTKIT_LOOPS_MAX = 64 };

/* ---- The kit ---- */

/* Gives a kit with `loops` virtual loops (1..64) at one second past zero. `seed` decides their
 * entropy and the order in which settle turns them. NULL for want of memory. */
WEIR_API weir_testkit *weir_testkit_new(uint32_t loops, uint64_t seed);
/* Takes the kit: frees loops and probes. No pipeline may be left on it. Gives the bytes that were
 * allocated by its env and not freed: 0, or there is a leak. NULL is fine, and gives 0. */
WEIR_API size_t weir_testkit_free(weir_testkit *kit);

WEIR_API const weir_env *weir_testkit_env(const weir_testkit *kit);             /* borrowed */
WEIR_API weir_loop *weir_testkit_loop(const weir_testkit *kit, uint32_t index); /* borrowed */
WEIR_API uint64_t weir_testkit_now(const weir_testkit *kit);

/* A pipeline with the kit's env; NULL for want of memory. Gives it; free it before the kit. */
WEIR_API weir_pipeline *weir_testkit_pipeline(weir_testkit *kit);
/* Starts the pipeline on all loops of the kit, and settles. */
WEIR_API weir_status weir_testkit_start(weir_testkit *kit, weir_pipeline *pipeline) WEIR_MUST_USE;

/* Turns all loops, in an order by the seed, until none did anything. False if they still did after
 * 100,000 rounds: something spins. */
WEIR_API bool weir_testkit_settle(weir_testkit *kit);
/* Settles, moves the time by `ns` in one step, settles. A timer that is started again as it fires
 * counts from the new time, without any delay too, so it fires once a step: where that matters use
 * weir_testkit_advance_by. Time ends at UINT64_MAX. */
WEIR_API bool weir_testkit_advance(weir_testkit *kit, uint64_t ns);
/* Advances by `ns` in steps of `step_ns` (at least 1). */
WEIR_API bool weir_testkit_advance_by(weir_testkit *kit, uint64_t ns, uint64_t step_ns);

/* ---- Simulation: the same seed, the same run ---- */

/* Occasions for something to go wrong. */
typedef enum weir_fault {
    WEIR_FAULT_CALLBACK,    /* on_items or on_item gives WEIR_EIO when it is through */
    WEIR_FAULT_OPEN,        /* a stage's open fails */
    WEIR_FAULT_ALLOCATION,  /* an allocation by the kit's env, on a loop, fails */
    WEIR_FAULT_TIMER_LATE,  /* due timers fire only after the next settling */
    WEIR_FAULT_CLOCK_JUMP,  /* weir_testkit_advance goes up to 10 s further */
    WEIR_FAULT_LOOP_STALL,  /* a loop gets none of the next 1 to 100 turns */
    WEIR_FAULT_CANCEL,      /* after a step: a sink probe on that loop cancels */
    WEIR_FAULT_ACK_LATE,    /* a sink probe acks an item after 1 to 20 ms */
    WEIR_FAULT_ACK_LOST,    /* a sink probe forgets an item: weir_testkit_expect_clean tells */
    WEIR_FAULT_ACK_DOUBLED, /* a sink probe acks an item twice: a violation */
    WEIR_FAULTS             /* how many there are */
} weir_fault;

typedef struct weir_testkit_config {
    uint32_t loops; /* 1..64; 0: 1 */
    uint64_t seed;  /* of entropy, choices and faults */
    /* The seed chooses among all that may come next: the stage of those that are ready, the timer
     * of those due at one instant, the loop, how much a turn does (vectors of 1..64), and when
     * posts, publishes and wake-ups are seen. A loop gets turns only while it is awake, as a real
     * one. Without: first come, first served, and all loops in a row. */
    bool shuffle;
    /* Pools of threads that are made with the kit's env (weir_offload, and so weir_blocking, and
     * weir_pool with `run`) have none: by the seed, each job begins 1 to so many µs after a worker
     * was free for it, all at once, on the kit's thread, and is over 1 to so many µs later; `open`
     * and `close` are called in weir_offload_new and free. A job that waits for another, or for the
     * test, waits for ever. 0: they have threads, of which the kit knows nothing. */
    uint32_t job_us_max;
    uint32_t faults_ppm[WEIR_FAULTS]; /* how often, in a million occasions */
    /* A line for every step, borrowed for the call. Optional. */
    void (*log)(const char *line, void *user);
    void *user;
} weir_testkit_config;

/* Gives a kit, as weir_testkit_new does; config NULL: all defaults. On such a kit a stage that
 * breaks the contract (emits without credit, ends an item twice, leaks one) does not abort the
 * process in a debug build: it is a violation. */
WEIR_API weir_testkit *weir_testkit_new_with(const weir_testkit_config *config);
/* Has `fault` come at its nth occasion from now (1: the next), once; 0: takes that back. */
WEIR_API void weir_testkit_fault(weir_testkit *kit, weir_fault fault, uint64_t nth);
/* How often it came. */
WEIR_API uint64_t weir_testkit_fault_hits(const weir_testkit *kit, weir_fault fault);
/* A hash over what has happened: stages visited, items in and out, outcomes, time. Equal for equal
 * seeds and tests, wherever they run. */
WEIR_API uint64_t weir_testkit_trace(const weir_testkit *kit);
/* Visits, tasks, timers so far. */
WEIR_API uint64_t weir_testkit_steps(const weir_testkit *kit);

/* After every step the kit looks at every edge and stage of every pipeline that weir_testkit_start
 * started on it: credit adds up, nothing is emitted that was not granted, or granted that was not
 * asked for, windows hold, in items and in bytes, no end overtakes data, no callback comes beneath
 * another, on a foreign loop, or after its end, and no source hears of an item that is still on its
 * way. When all is still, nothing may be left undone. The first breach is kept, with the names of
 * stage and edge; weir_testkit_settle gives false from then on if the kit shuffles. */
WEIR_API bool weir_testkit_check(weir_testkit *kit); /* false: there was a breach */
WEIR_API uint64_t weir_testkit_violations(const weir_testkit *kit);
/* The first breach or disappointed expectation, as a sentence; "" if there is none. Borrowed. */
WEIR_API const char *weir_testkit_why(const weir_testkit *kit);
/* Settles; true if there was no breach, every pipeline is over and every item has ended. Otherwise
 * weir_testkit_why says what is wrong. */
WEIR_API bool weir_testkit_expect_clean(weir_testkit *kit);

/* ---- Memory of the kit's env ---- */

WEIR_API size_t weir_testkit_bytes(const weir_testkit *kit); /* allocated now */
/* Allocations and growths asked for since the kit was made, those that failed included. */
WEIR_API uint64_t weir_testkit_allocations(const weir_testkit *kit);
/* Fails the nth allocation from now (1: the next), once; 0: none. */
WEIR_API void weir_testkit_fail_allocation(weir_testkit *kit, uint64_t nth);
/* Fails every allocation until told otherwise. */
WEIR_API void weir_testkit_fail_all(weir_testkit *kit, bool fail);

/* Ends whatever a test has left on the kit, wherever it left: takes back failures and faults to
 * come, aborts the pipelines that were made with the kit's env, settles, and frees those that are
 * over. True if all are, nothing broke the contract, and every item of a source has ended;
 * otherwise weir_testkit_why says why. Free the kit next; or, if it gave false because a pipeline
 * waits for something of the test's (an item taken from a probe, a hold), end that and call again.
 * Not after a jump out of a callback: that gives false, and the kit cannot be freed. */
WEIR_API bool weir_testkit_abandon(weir_testkit *kit);

/* ---- Every allocation failing in turn ----
 *
 * A test that passes is run again and again, each time with another allocation failing, until there
 * is none left to fail. It need not know: the kits that it makes are part of the walk.
 *
 *     weir_testkit_walk *walk = weir_testkit_walk_new();
 *     for (uint64_t nth = 1;; nth++) {
 *         weir_testkit_walk_begin(walk, nth);
 *         bool passed = my_test();               may return (or longjmp to here) wherever it likes
 *         assert(weir_testkit_walk_end(walk));   otherwise: weir_testkit_walk_why(walk)
 *         if (!weir_testkit_walk_hit(walk)) {
 *             assert(passed);
 *             break;
 *         }
 *     }
 *     weir_testkit_walk_free(walk);
 *
 * What my_test expects may fail once an allocation has: start gives WEIR_ENOMEM, items end as
 * failed. What may not: a crash, a hang, a breach of the contract, an item that never ends, a byte
 * that is left. So my_test leaves its kits and pipelines behind when it gives up early, and
 * weir_testkit_walk_end abandons them; what else it has made (a hub, an inlet, an item) it frees
 * itself or tells the walk of, or it is found as left.
 * Stages run as they are abandoned: where they refer to the test's own stack, call
 * weir_testkit_walk_end where the test gives up, before its stack is gone. */

/* Gives a walk; NULL for want of memory. */
WEIR_API weir_testkit_walk *weir_testkit_walk_new(void);
/* Takes it, between end and begin. NULL is fine. */
WEIR_API void weir_testkit_walk_free(weir_testkit_walk *walk);
/* From now on kits that this thread makes count their allocations together, each from when it has
 * been made, and the nth fails, once; 0: none. One walk at a time on a thread. */
WEIR_API void weir_testkit_walk_begin(weir_testkit_walk *walk, uint64_t nth);
/* Abandons and frees the kits that were not freed. False: something was wrong, on these or on those
 * that the test had freed: see weir_testkit_walk_why. A kit that cannot be freed stays as it is. */
WEIR_API bool weir_testkit_walk_end(weir_testkit_walk *walk);
/* Whether the allocation came and failed. From begin to the next begin, as what follows. */
WEIR_API bool weir_testkit_walk_hit(const weir_testkit_walk *walk);
WEIR_API uint64_t weir_testkit_walk_allocations(const weir_testkit_walk *walk);
/* The first thing that was wrong, as a sentence; "" if nothing was. Borrowed. */
WEIR_API const char *weir_testkit_walk_why(const weir_testkit_walk *walk);
/* `what` is the test's to free (a hub, an inlet): if it leaves without, end calls `free_it`, after
 * the pipelines and before the kits, the latest first. False: there are 64 already. */
WEIR_API bool weir_testkit_walk_owns(weir_testkit_walk *walk, void *what,
                                     void (*free_it)(void *what));
/* The test freed it. Of others: nothing. */
WEIR_API void weir_testkit_walk_freed(weir_testkit_walk *walk, const void *what);
/* Counts one more allocation, of another library's hook (event_set_mem_functions, nghttp2_mem,
 * ProtobufCAllocator): true if it is the one that must fail. Any thread. */
WEIR_API bool weir_testkit_walk_fails(weir_testkit_walk *walk);

/* ---- Probes ---- */

/* Gives a probe, borrowed from the kit; NULL for want of memory. Use it at one place of one
 * pipeline, as a source or as a sink. */
WEIR_API weir_probe *weir_testkit_probe(weir_testkit *kit);
/* The probe of another replica of the same node, `replica` below the kit's loops. The probe itself
 * is that of replica 0. */
WEIR_API weir_probe *weir_probe_replica(weir_probe *probe, uint32_t replica);

/* Gives the spec of the source, or of the sink, that the probe watches. */
WEIR_API weir_stage_spec *weir_probe_source(weir_probe *probe);
WEIR_API weir_stage_spec *weir_probe_sink(weir_probe *probe);

/* Stages that are open now have a stage; NULL before open and after close. Borrowed. */
WEIR_API weir_stage *weir_probe_stage(const weir_probe *probe);

/* ---- A source probe: emits what it was fed, as demand and memory allow ---- */

typedef struct weir_probe_item {
    uint64_t value;        /* the body begins with it */
    uint64_t key;          /* 0: none */
    uint32_t cost;         /* 0: the bytes of its body */
    weir_context *context; /* borrowed until the item has ended; NULL: none */
} weir_probe_item;

/* Queues one item. False for want of memory, or when the feed has ended. */
WEIR_API bool weir_probe_feed(weir_probe *source, uint64_t value);
WEIR_API bool weir_probe_feed_item(weir_probe *source, const weir_probe_item *item);
/* Ends the source after what it was fed: WEIR_OK, or as an error. */
WEIR_API void weir_probe_end(weir_probe *source);
WEIR_API void weir_probe_end_error(weir_probe *source, weir_status status);
/* Credit that the source has now. */
WEIR_API uint64_t weir_probe_demand(const weir_probe *source);
/* Items it has emitted; the nth item is that of the nth feed. */
WEIR_API uint64_t weir_probe_emitted(const weir_probe *source);
WEIR_API bool weir_probe_is_cancelled(const weir_probe *source);
/* Emitted items that ended so. */
WEIR_API uint64_t weir_probe_ended(const weir_probe *source, weir_outcome outcome);
/* Emitted items that have not ended. */
WEIR_API uint64_t weir_probe_live(const weir_probe *source);
/* How item `index` ended; false while it has not. The outputs are optional. */
WEIR_API bool weir_probe_outcome(const weir_probe *source, uint64_t index,
                                 weir_outcome *ret_outcome, weir_status *ret_status);

/* ---- A sink probe: asks when told, and keeps a record ---- */

/* Asks for `n` more. */
WEIR_API void weir_probe_request(weir_probe *sink, uint64_t n);
WEIR_API void weir_probe_cancel(weir_probe *sink);
/* Keep items instead of acking them on receipt. They keep the stage open; take them, or let an
 * abort end them. */
WEIR_API void weir_probe_keep(weir_probe *sink, bool keep);
WEIR_API uint64_t weir_probe_received(const weir_probe *sink);
/* The uint64_t that the nth received body began with; of a joined item: how many members it had. */
WEIR_API uint64_t weir_probe_value(const weir_probe *sink, uint64_t index);
/* Loop time at which the nth item came. */
WEIR_API uint64_t weir_probe_arrival(const weir_probe *sink, uint64_t index);
/* The oldest kept item, or NULL. Gives it. */
WEIR_API weir_item *weir_probe_take(weir_probe *sink);
/* True when the input is over; the status is WEIR_OK for its end. `ret_status` is optional. */
WEIR_API bool weir_probe_is_over(const weir_probe *sink, weir_status *ret_status);

/* ---- Either ---- */

/* Shows every item that the sink gets (on any replica) to `look`, which borrows it. */
WEIR_API void weir_probe_look(weir_probe *sink, void (*look)(const weir_item *item, void *user),
                              void *user);
/* The item of a source probe that `item` is, or was made of: whose, and the how manyth. False for
 * items of others; a joined item has none, its members do. The outputs are written if true. */
WEIR_API bool weir_probe_origin(const weir_item *item, weir_probe **ret_source,
                                uint64_t *ret_index);

/* What a test expects: true, or false with the reason in weir_testkit_why. Values: as many as `n`,
 * and no more. */
WEIR_API bool weir_probe_expect(const weir_probe *sink, uint64_t n, const uint64_t *values);
WEIR_API bool weir_probe_expect_end(const weir_probe *sink, weir_status status);
WEIR_API bool weir_probe_expect_demand(const weir_probe *source, uint64_t credit);
WEIR_API bool weir_probe_expect_outcome(const weir_probe *source, uint64_t index,
                                        weir_outcome outcome);

/* Breaches of the contract that the probe saw: an item ended twice, an item not asked for, anything
 * after a terminal. */
WEIR_API uint64_t weir_probe_violations(const weir_probe *probe);

#ifdef __cplusplus
}
#endif
#endif

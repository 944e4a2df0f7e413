/* The rules of Reactive Streams 1.0.4 (https://github.com/reactive-streams/reactive-streams-jvm),
 * all 43 of them, in weir's C form, on every row of the stage table, on one, two and four loops,
 * with windows of 1, 2, 16 and 256 items.
 *
 * A publisher is a row with outputs, a subscriber one with inputs, a processor has both, and a
 * subscription is an edge: subscribe is weir_link, onSubscribe is open, onNext is on_items,
 * onComplete and onError are on_end, request and cancel are weir_request and weir_cancel. The probe
 * stages around the row (tck/probes.c) note every signal; what is to come out follows from the
 * row's traits alone. Then wrong stages and wrong engines (tck/wrong.c) show that each rule's check
 * can fail.
 *
 *     tck_test [--rule 1.09] [--stage merge] [--loops 2] [--window 16] [--seed 5] [--list] */
#include "tck.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The mapping: the rule, what it says, how it is tested here, and on which rows. */
static const tck_rule rules[] = {
    { "1.01", "never more items than were asked for",
      "ask 0, 1, 3, 2 ... of each output, with plenty above; look after each step, and in the "
      "callback; over_emitted of all stages stays 0",
      TCK_PUBLISHER, rule_1_01 },
    { "1.02", "may send fewer, and end",
      "ask 900, feed 3, end (a source: drain): the terminal comes although more was asked for",
      TCK_PUBLISHER, rule_1_02 },
    { "1.03", "signals are serial, in sequence",
      "no callback, nor an item's end, beneath another; each in a turn of its own loop; items in "
      "order, per key where the row says so",
      TCK_PUBLISHER, rule_1_03 },
    { "1.04", "a failure is told as an error",
      "fail input 0: each output ends with that status; a source without memory goes on later, or "
      "ends",
      TCK_PUBLISHER, rule_1_04 },
    { "1.05", "an end is told as an end",
      "end with items held and without demand, and end with all emitted: what is held comes first, "
      "all that is owed came, then WEIR_OK, and the stage closes",
      TCK_PUBLISHER, rule_1_05 },
    { "1.06", "after its terminal an edge counts as cancelled",
      "untested on the JVM. In on_end: the input is over, a request adds no demand, a cancel does "
      "nothing; then all stages close by themselves",
      TCK_PUBLISHER, rule_1_06 },
    { "1.07", "nothing after the terminal",
      "end and error with items everywhere, then more demand and time: one on_end, nothing behind",
      TCK_PUBLISHER, rule_1_07 },
    { "1.08", "after a cancel the signals stop",
      "untested on the JVM. Cancel with items on the edges: nothing reaches the canceller any "
      "more, at once; the row stops taking items",
      TCK_PUBLISHER, rule_1_08 },
    { "1.09", "subscription comes first; no subscriber is an error",
      "a port without an edge is WEIR_EINVAL with a sentence, a stage that is NULL is WEIR_ENOMEM, "
      "before anything runs; open comes before any other callback, items waiting above or not",
      TCK_PUBLISHER, rule_1_09 },
    { "1.10", "each subscriber subscribes once",
      "a second edge at an output is WEIR_EINVAL; two of the row in a pipeline share nothing: one "
      "is cancelled, the other delivers all",
      TCK_PUBLISHER, rule_1_10 },
    { "1.11", "it says whether it is unicast or multicast",
      "untested on the JVM. A row that copies hands each item to every output, any other to one "
      "at most, and none twice",
      TCK_PUBLISHER, rule_1_11 },
    { "2.01", "items come by demand alone",
      "nothing flows before; then the row asks each input, for as long as items come",
      TCK_SUBSCRIBER, rule_2_01 },
    { "2.02", "does not obstruct its publisher",
      "untested on the JVM. An emit returns before the row, or anybody, has run", TCK_SUBSCRIBER,
      rule_2_02 },
    { "2.03", "on a terminal it does not call upstream",
      "after end and error no demand and no cancel reaches the ended input", TCK_SUBSCRIBER,
      rule_2_03 },
    { "2.04", "a terminal ends the subscription",
      "untested on the JVM. No credit on the ended edge, nothing left queued on any, all close",
      TCK_SUBSCRIBER, rule_2_04 },
    { "2.05", "one upstream only", "a second edge at any of its inputs is WEIR_EINVAL",
      TCK_SUBSCRIBER, rule_2_05 },
    { "2.06", "cancels what it needs no longer",
      "untested on the JVM. All outputs cancelled (a sink: aborted), or ended by itself: each "
      "input is cancelled, once",
      TCK_SUBSCRIBER, rule_2_06 },
    { "2.07", "request and cancel are serial",
      "untested on the JVM. The source is told in turns of its own loop, never beneath a callback; "
      "the level told is the level there is, and what was granted in all never falls",
      TCK_SUBSCRIBER, rule_2_07 },
    { "2.08", "copes with items after its cancel",
      "flood, cancel below, go on emitting until the sender hears: each item ends once, none comes "
      "below",
      TCK_SUBSCRIBER, rule_2_08 },
    { "2.09", "copes with an end, asked or not",
      "untested on the JVM without demand. The source ends in open, or after demand: the end comes "
      "out, without demand too",
      TCK_SUBSCRIBER, rule_2_09 },
    { "2.10", "copes with an error, asked or not",
      "the same with WEIR_EIO, which comes out as it is", TCK_SUBSCRIBER, rule_2_10 },
    { "2.11", "a signal happens before its processing",
      "untested on the JVM. What was written before the emit is what is read below, on whichever "
      "loop; rows that need no time run on threads too (ctest -L across: thread sanitizer)",
      TCK_SUBSCRIBER, rule_2_11 },
    { "2.12", "subscribed once at most",
      "untested on the JVM. open and close run once each; a second start is WEIR_EINVAL",
      TCK_SUBSCRIBER, rule_2_12 },
    { "2.13", "callbacks return normally",
      "a run from open to close leaves no error and nests no callback (NULL: see 1.09)",
      TCK_SUBSCRIBER, rule_2_13 },
    { "3.01", "request and cancel in the subscriber's context",
      "untested on the JVM. A request from below shows above only after the row's own loop has "
      "turned, and runs nothing by itself",
      TCK_PUBLISHER, rule_3_01 },
    { "3.02", "request may be called from open and on_items",
      "all items come, asked for from within callbacks alone, one by one", TCK_PUBLISHER,
      rule_3_02 },
    { "3.03", "recursion between request and emit is bounded",
      "a chain of six, each item asks for the next: the stack of the callbacks is as deep after "
      "320 items as after 20",
      TCK_PUBLISHER, rule_3_03 },
    { "3.04", "a request is quick",
      "untested on the JVM. It allocates nothing and runs nothing, whatever waits", TCK_PUBLISHER,
      rule_3_04 },
    { "3.05", "a cancel is quick, and idempotent",
      "untested on the JVM. With items queued it allocates, runs and ends nothing, the second "
      "neither",
      TCK_PUBLISHER, rule_3_05 },
    { "3.06", "after a cancel a request does nothing",
      "it is WEIR_OK, adds no demand, nothing comes, the source is not asked", TCK_PUBLISHER,
      rule_3_06 },
    { "3.07", "after a cancel a cancel does nothing",
      "six times, in between turns: the source hears one, the sink closes once", TCK_PUBLISHER,
      rule_3_07 },
    { "3.08", "requests add up",
      "2 and 3 are 5 outstanding, 5 come where the row passes all, each less outstanding",
      TCK_PUBLISHER, rule_3_08 },
    { "3.09", "a request of nothing is an error",
      "weir_request(0) is WEIR_EINVAL, in any callback, before and after a cancel, and changes "
      "nothing (a negative number cannot be said)",
      TCK_PUBLISHER, rule_3_09 },
    { "3.10", "a request may deliver at once",
      "untested on the JVM. Here it never does, between turns or in callbacks: it comes afterwards",
      TCK_PUBLISHER, rule_3_10 },
    { "3.11", "a request may end at once",
      "untested on the JVM. Here it never does, with a terminal pending above: it comes afterwards",
      TCK_PUBLISHER, rule_3_11 },
    { "3.12", "a cancel stops the publisher",
      "with items everywhere: the inputs are cancelled, their sources close, all is finished",
      TCK_PUBLISHER, rule_3_12 },
    { "3.13", "a cancel lets go of references",
      "each item ended once, no item lives on any loop, no byte is left (this holds for the end of "
      "every run of every rule)",
      TCK_PUBLISHER, rule_3_13 },
    { "3.14", "a cancel may close the publisher",
      "untested on the JVM. One of two outputs cancelled: the other is served to its end; all "
      "cancelled: it closes by itself",
      TCK_PUBLISHER, rule_3_14 },
    { "3.15", "a cancel returns normally",
      "untested on the JVM. In open, in on_items, in on_end, between turns: no error remains",
      TCK_PUBLISHER, rule_3_15 },
    { "3.16", "a request returns normally",
      "untested on the JVM. In open, in on_items, in on_end, between turns: WEIR_OK", TCK_PUBLISHER,
      rule_3_16 },
    { "3.17", "demand up to 2^63-1 at least",
      "2^63-1 and as much again are exact, further saturates at WEIR_UNBOUNDED and stays; all "
      "items come; no credit above the window",
      TCK_PUBLISHER, rule_3_17 },
    { "4.01", "a processor obeys both contracts",
      "steps of feeding and asking at odds, single turns in between: nothing unasked, lost, twice, "
      "corrupt or out of order; what passes is acked",
      TCK_PROCESSOR, rule_4_01 },
    { "4.02", "a processor passes an error on, or recovers",
      "no row of the library recovers: the last input's error comes out of every output, behind "
      "the items before it, and all close",
      TCK_PROCESSOR, rule_4_02 },
};

enum { RULES = sizeof rules / sizeof *rules, RULE_SECONDS_MAX = 120 };

static const uint32_t loops_tried[] = { 1, 2, 4 }, windows_tried[] = { 1, 2, 16, 256 };

typedef struct wanted {
    const char *rule, *stage;
    uint32_t loops, window; /* 0: all */
} wanted;

typedef struct tally {
    uint32_t rows, cases, passed;
} tally;

static tck bench;
static uint64_t seed;

bool tck_applies(const tck_rule *rule, const stage_row *row)
{
    bool publishes = row->outputs > 0, subscribes = row->inputs > 0;
    return rule->role == TCK_ANY || (rule->role == TCK_PUBLISHER && publishes) ||
           (rule->role == TCK_SUBSCRIBER && subscribes) ||
           (rule->role == TCK_PROCESSOR && publishes && subscribes);
}

/* A stage that breaks the contract aborts a debug build, one on threads may hang: say where. */
static char running[160];

static void on_abort(int number)
{
    ssize_t written = write(STDERR_FILENO, running, strlen(running));
    (void)written;
    if (number == SIGALRM)
        _exit(1);
}

static bool run_case(const tck_rule *rule, const stage_row *row, const tck_engine *engine,
                     uint32_t loops, uint32_t window)
{
    (void)snprintf(running, sizeof running, "broken off in rule %s, %s, %u loops, window %u\n",
                   rule->id, row->name, loops, window);
    tck_init(&bench, row, engine, loops, window, seed);
    if (!bench.failed)
        rule->run(&bench);
    tck_close(&bench);
    return !bench.failed;
}

static bool is_wanted(const char *name, const char *id)
{
    return name == NULL || strcmp(name, id) == 0;
}

/* All loops and windows of one row; prints the first failure, and how many there are. */
static void run_row(const tck_rule *rule, const stage_row *row, const wanted *want, tally *sum)
{
    uint32_t failed = 0;
    char first[TCK_WHY + 40] = "";
    sum->rows++;
    for (size_t l = 0; l < sizeof loops_tried / sizeof *loops_tried; l++)
        for (size_t w = 0; w < sizeof windows_tried / sizeof *windows_tried; w++) {
            uint32_t loops = loops_tried[l], window = windows_tried[w];
            if ((want->loops != 0 && want->loops != loops) ||
                (want->window != 0 && want->window != window))
                continue;
            sum->cases++;
            if (run_case(rule, row, NULL, loops, window)) {
                sum->passed++;
                continue;
            }
            if (failed++ == 0)
                (void)snprintf(first, sizeof first, "loops %u, window %u: %s", loops, window,
                               bench.why);
        }
    if (failed != 0)
        printf("      FAILED %s in %u cases, first %s\n", row->name, failed, first);
}

/* The table's rows, and the right ones behind them. */
static const stage_row *row_at(size_t index)
{
    size_t of_table = 0;
    while (stage_row_at(of_table) != NULL && of_table < index)
        of_table++;
    const stage_row *row = stage_row_at(index);
    return row != NULL ? row : tck_right_at(index - of_table);
}

static bool run_rule(const tck_rule *rule, const wanted *want)
{
    tally sum = { 0 };
    const stage_row *row;
    clock_t before = clock();
    (void)alarm(RULE_SECONDS_MAX);
    for (size_t i = 0; (row = row_at(i)) != NULL; i++)
        if (is_wanted(want->stage, row->name) && tck_applies(rule, row))
            run_row(rule, row, want, &sum);
    printf("%s  rows %3u  cases %4u  passed %4u  %5.2f s  %s\n", rule->id, sum.rows, sum.cases,
           sum.passed, (double)(clock() - before) / CLOCKS_PER_SEC, rule->says);
    bool ran = sum.cases != 0 || want->stage != NULL;
    if (!ran)
        printf("      FAILED: ran on no row\n");
    return ran && sum.passed == sum.cases;
}

/* ---- That the checks can fail ---- */

static const tck_rule *rule_of(const char *id)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].id, id) == 0)
            return &rules[i];
    return NULL;
}

/* What is broken may leak or abort: a child of its own for each. 0: not caught. */
static bool catches(const tck_wrong *wrong, uint32_t loops, uint32_t window)
{
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        tck_engine engine;
        tck_init(&bench, &wrong->row, NULL, 1, 1, seed);
        engine = *bench.engine;
#define TAKE(call)                  \
    if (wrong->engine.call != NULL) \
        engine.call = wrong->engine.call;
        TAKE(request)
        TAKE(cancel)
        TAKE(outstanding)
        TAKE(emit)
        TAKE(end)
        TAKE(check)
        TAKE(start)
#undef TAKE
        (void)freopen("/dev/null", "w", stderr);
        _exit(run_case(rule_of(wrong->rule), &wrong->row, &engine, loops, window) ? 0 : 1);
    }
    int how = 0;
    if (child < 0 || waitpid(child, &how, 0) != child)
        return false;
    return WIFSIGNALED(how) ? WTERMSIG(how) == SIGABRT : WEXITSTATUS(how) == 1;
}

static bool run_wrong(const char *only)
{
    bool all = true;
    uint32_t caught_of[RULES] = { 0 };
    const tck_wrong *wrong;
    for (size_t i = 0; (wrong = tck_wrong_at(i)) != NULL; i++) {
        uint32_t caught = 0;
        if (!is_wanted(only, wrong->rule))
            continue;
        for (size_t l = 0; l < sizeof loops_tried / sizeof *loops_tried; l++)
            caught += catches(wrong, loops_tried[l], 2);
        caught_of[rule_of(wrong->rule) - rules] += caught;
        printf("%s  caught on %u of 3  %s: %s\n", wrong->rule, caught, wrong->row.name,
               wrong->does);
        all &= caught != 0;
    }
    for (size_t i = 0; i < RULES; i++)
        if (is_wanted(only, rules[i].id) && caught_of[i] == 0) {
            printf("%s  FAILED: nothing shows that it can fail\n", rules[i].id);
            all = false;
        }
    return all;
}

static void list_rules(void)
{
    for (size_t i = 0; i < RULES; i++)
        printf("%s  %s\n      %s\n", rules[i].id, rules[i].says, rules[i].how);
}

static bool take_argument(wanted *want, const char *name, const char *value)
{
    if (strcmp(name, "--rule") == 0)
        want->rule = value;
    else if (strcmp(name, "--stage") == 0)
        want->stage = value;
    else if (strcmp(name, "--loops") == 0)
        want->loops = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--seed") == 0)
        seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "--window") == 0)
        want->window = (uint32_t)strtoul(value, NULL, 10);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    wanted want = { 0 };
    bool passed = true, any = false;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list_rules();
        return 0;
    }
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !take_argument(&want, argv[i], argv[i + 1])) {
            fprintf(
                stderr,
                "usage: %s [--rule R] [--stage S] [--loops N] [--window N] [--seed N] [--list]\n",
                argv[0]);
            return 2;
        }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGALRM, on_abort);
    for (size_t i = 0; i < RULES; i++)
        if (is_wanted(want.rule, rules[i].id)) {
            passed &= run_rule(&rules[i], &want);
            any = true;
        }
    if (want.stage == NULL && want.loops == 0 && want.window == 0)
        passed &= run_wrong(want.rule);
    printf("%s\n", passed && any ? "passed" : "FAILED");
    return passed && any ? 0 : 1;
}

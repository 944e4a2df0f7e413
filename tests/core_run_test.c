/* weir_run as a process has it: its threads and its signals. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include <event2/event.h>
#include <weir/inlet.h>
#include <weir/stages.h>

typedef struct run {
    weir_inlet *inlet;
    weir_pipeline *pipeline;
    pthread_t thread;
    weir_status status;
} run;

static weir_status nothing(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

static void *run_it(void *user)
{
    run *r = user;
    r->status = weir_run(r->pipeline);
    return NULL;
}

static void run_new(run *r)
{
    r->inlet = weir_inlet_new(NULL, NULL);
    r->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
    assert_non_null(r->pipeline);
    weir_from(r->pipeline, weir_from_inlet(r->inlet));
    weir_into(r->pipeline, weir_for_each(nothing, NULL));
    assert_int_equal(pthread_create(&r->thread, NULL, run_it, r), 0);
}

static void offer(run *r)
{
    weir_item *item = weir_item_new_foreign(NULL, NULL, 8);
    assert_non_null(item);
    assert_int_equal(weir_inlet_offer(r->inlet, item), WEIR_OK);
}

static void run_done(run *r)
{
    pthread_join(r->thread, NULL);
    assert_int_equal(r->status, WEIR_OK);
    weir_pipeline_free(r->pipeline);
    weir_inlet_free(r->inlet);
}

static int warnings;

/* libevent says so when two of its bases fight for a signal. */
static void count_warnings(int severity, const char *text)
{
    (void)text;
    __atomic_fetch_add(&warnings, severity >= EVENT_LOG_WARN, __ATOMIC_RELAXED);
}

static void runs_at_once_do_not_disturb_each_other(void **unused)
{
    (void)unused;
    event_set_log_callback(count_warnings);
    for (int round = 0; round < 20; round++) {
        run runs[3];
        for (int i = 0; i < 3; i++)
            run_new(&runs[i]);
        for (int i = 0; i < 3; i++)
            offer(&runs[i]);
        for (int i = 0; i < 3; i++)
            weir_inlet_end(runs[i].inlet);
        for (int i = 0; i < 3; i++)
            run_done(&runs[i]);
    }
    event_set_log_callback(NULL);
    assert_int_equal(warnings, 0);
}

static void a_later_run_has_the_signals_that_an_earlier_one_gave_back(void **unused)
{
    (void)unused;
    for (int round = 0; round < 3; round++) {
        run r;
        weir_inlet *never_ends;
        run_new(&r);
        never_ends = r.inlet;
        offer(&r);
        /* The run has the signals once it has taken what was offered. */
        while (weir_inlet_queued(never_ends) != 0)
            sched_yield();
        assert_int_equal(kill(getpid(), SIGTERM), 0);
        run_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_at_once_do_not_disturb_each_other),
        cmocka_unit_test(a_later_run_has_the_signals_that_an_earlier_one_gave_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

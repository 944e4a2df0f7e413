/* Timers: the pairing heap against a sorted list, with random starts, moves and stops. */
#include "core_rig.h"

enum { TIMERS = 200, STEPS = 20000 };

typedef struct oracle {
    weir_testkit *kit;
    weir_loop *loop;
    weir_timer timers[TIMERS];
    uint64_t due[TIMERS]; /* 0: not armed */
    uint64_t fired, last_due, random;
} oracle;

static uint64_t next_random(oracle *o)
{
    o->random = o->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return o->random >> 33;
}

static void fire(weir_timer *timer, void *user)
{
    oracle *o = user;
    size_t i = (size_t)(timer - o->timers);
    assert_false(weir_timer_is_armed(timer));
    assert_true(o->due[i] != 0 && o->due[i] <= weir_testkit_now(o->kit));
    assert_true(o->due[i] >= o->last_due); /* in order */
    o->last_due = o->due[i];
    o->due[i] = 0;
    o->fired++;
}

static void start(oracle *o, size_t i, uint64_t delay)
{
    weir_timer_start(o->loop, &o->timers[i], delay, fire, o);
    o->due[i] = weir_testkit_now(o->kit) + (delay != 0 ? delay : 1);
}

static void check_armed(const oracle *o)
{
    for (size_t i = 0; i < TIMERS; i++)
        assert_int_equal(weir_timer_is_armed(&o->timers[i]), o->due[i] != 0);
}

static void check_none_is_late(const oracle *o)
{
    for (size_t i = 0; i < TIMERS; i++)
        assert_true(o->due[i] == 0 || o->due[i] > weir_testkit_now(o->kit));
}

static void timers_fire_as_a_sorted_list_would(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        oracle *o = test_calloc(1, sizeof *o);
        o->kit = weir_testkit_new(1, seed);
        o->loop = weir_testkit_loop(o->kit, 0);
        o->random = seed;
        for (int step = 0; step < STEPS; step++) {
            size_t i = (size_t)(next_random(o) % TIMERS);
            switch (next_random(o) % 8) {
            case 0:
            case 1:
                weir_timer_stop(o->loop, &o->timers[i]);
                o->due[i] = 0;
                break;
            case 2:
                o->last_due = 0;
                assert_true(weir_testkit_advance(o->kit, next_random(o) % 200));
                check_none_is_late(o);
                break;
            default:
                start(o, i, next_random(o) % (step % 3 == 0 ? 10 : 2000));
            }
            if (step % 100 == 0)
                check_armed(o);
        }
        o->last_due = 0;
        assert_true(weir_testkit_advance(o->kit, 10000));
        for (size_t i = 0; i < TIMERS; i++)
            assert_int_equal(o->due[i], 0);
        assert_true(o->fired > 1000);
        assert_int_equal(weir_testkit_free(o->kit), 0);
        test_free(o);
    }
}

typedef struct chain {
    weir_testkit *kit;
    weir_timer timer, other;
    uint64_t fired;
} chain;

static void fire_again(weir_timer *timer, void *user)
{
    chain *c = user;
    c->fired++;
    weir_timer_stop(weir_testkit_loop(c->kit, 0), &c->other);
    weir_timer_start(weir_testkit_loop(c->kit, 0), timer, 0, fire_again, c);
}

static void must_not_fire(weir_timer *timer, void *user)
{
    (void)timer;
    (void)user;
    fail();
}

static void a_timer_may_restart_itself_and_stop_others_as_it_fires(void **state)
{
    (void)state;
    chain c = { .kit = weir_testkit_new(1, 1) };
    weir_loop *loop = weir_testkit_loop(c.kit, 0);
    weir_timer_start(loop, &c.timer, 5, fire_again, &c);
    weir_timer_start(loop, &c.other, 5, must_not_fire, &c);
    weir_timer_start(loop, &c.other, 6, must_not_fire, &c); /* moved */
    assert_true(weir_testkit_advance_by(c.kit, 100, 1));
    assert_int_equal(c.fired, 96);
    weir_timer_stop(loop, &c.timer);
    weir_timer_stop(loop, &c.timer);
    assert_false(weir_timer_is_armed(&c.timer));
    assert_int_equal(weir_testkit_free(c.kit), 0);
}

static void a_timer_without_delay_fires_as_the_clock_moves_and_once(void **state)
{
    (void)state;
    chain c = { .kit = weir_testkit_new(1, 1) };
    weir_timer_start(weir_testkit_loop(c.kit, 0), &c.timer, 0, fire_again, &c);
    assert_true(weir_testkit_settle(c.kit));
    assert_int_equal(c.fired, 0);
    assert_true(weir_testkit_advance(c.kit, 1));
    assert_int_equal(c.fired, 1);
    assert_true(weir_testkit_settle(c.kit));
    assert_int_equal(c.fired, 1);
    assert_true(weir_testkit_advance(c.kit, WEIR_SEC));
    assert_int_equal(c.fired, 2);
    weir_timer_stop(weir_testkit_loop(c.kit, 0), &c.timer);
    assert_int_equal(weir_testkit_free(c.kit), 0);
}

static void no_timer_fires_at_the_end_of_time(void **state)
{
    (void)state;
    chain c = { .kit = weir_testkit_new(1, 1) };
    weir_timer_start(weir_testkit_loop(c.kit, 0), &c.timer, 0, fire_again, &c);
    assert_true(weir_testkit_advance(c.kit, UINT64_MAX - weir_testkit_now(c.kit)));
    assert_int_equal(c.fired, 1);
    assert_true(weir_timer_is_armed(&c.timer));
    weir_timer_stop(weir_testkit_loop(c.kit, 0), &c.timer);
    assert_int_equal(weir_testkit_free(c.kit), 0);
}

/* A loop of a descriptor's kind, with a clock that is the test's. */
typedef struct still {
    weir_env env;
    weir_loop *loop;
    weir_timer timer;
    uint64_t now_ns, fired;
} still;

static uint64_t still_now(void *user)
{
    return ((still *)user)->now_ns;
}

static void fire_on(weir_timer *timer, void *user)
{
    still *s = user;
    s->fired++;
    weir_timer_start(s->loop, timer, 0, fire_on, s);
}

static void a_turn_fires_a_timer_without_delay_once_at_the_most(void **state)
{
    (void)state;
    still s = { .now_ns = WEIR_SEC };
    s.env = (weir_env){ .now_ns = still_now, .user = &s };
    s.loop = weir_loop_new(&(weir_loop_config){ .env = &s.env });
    assert_non_null(s.loop);
    weir_timer_start(s.loop, &s.timer, 0, fire_on, &s);
    for (uint64_t turn = 0; turn < 10; turn++) {
        (void)weir_loop_turn(s.loop); /* the clock stands */
        assert_int_equal(s.fired, turn);
        s.now_ns++;
        (void)weir_loop_turn(s.loop);
        assert_int_equal(s.fired, turn + 1);
    }
    weir_timer_stop(s.loop, &s.timer);
    weir_loop_free(s.loop);
}

static void a_delay_beyond_all_time_never_fires(void **state)
{
    (void)state;
    chain c = { .kit = weir_testkit_new(1, 1) };
    weir_timer_start(weir_testkit_loop(c.kit, 0), &c.timer, UINT64_MAX, must_not_fire, &c);
    assert_true(weir_testkit_advance(c.kit, 1000 * WEIR_SEC));
    assert_true(weir_timer_is_armed(&c.timer));
    weir_timer_stop(weir_testkit_loop(c.kit, 0), &c.timer);
    assert_int_equal(weir_testkit_free(c.kit), 0);
}

static void many_timers_of_one_moment_all_fire_at_once(void **state)
{
    (void)state;
    oracle *o = test_calloc(1, sizeof *o);
    o->kit = weir_testkit_new(1, 3);
    o->loop = weir_testkit_loop(o->kit, 0);
    for (size_t i = 0; i < TIMERS; i++)
        start(o, i, 77);
    for (size_t i = 0; i < TIMERS; i += 3) {
        weir_timer_stop(o->loop, &o->timers[i]);
        o->due[i] = 0;
    }
    assert_true(weir_testkit_advance(o->kit, 76));
    assert_int_equal(o->fired, 0);
    assert_true(weir_testkit_advance(o->kit, 1));
    assert_int_equal(o->fired, TIMERS - (TIMERS + 2) / 3);
    assert_int_equal(weir_testkit_free(o->kit), 0);
    test_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_as_a_sorted_list_would),
        cmocka_unit_test(a_timer_may_restart_itself_and_stop_others_as_it_fires),
        cmocka_unit_test(a_timer_without_delay_fires_as_the_clock_moves_and_once),
        cmocka_unit_test(no_timer_fires_at_the_end_of_time),
        cmocka_unit_test(a_turn_fires_a_timer_without_delay_once_at_the_most),
        cmocka_unit_test(a_delay_beyond_all_time_never_fires),
        cmocka_unit_test(many_timers_of_one_moment_all_fire_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

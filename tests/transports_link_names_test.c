/* Names of hosts looked up without blocking: what is at hand, what is given up, and what goes on
 * when those who asked are gone. */
#include "wi_names.h"

#include <event2/event.h>

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct rig {
    weir_env env;
    long live;
    weir_loop *loop;
    wi_names *names;
    unsigned told;
    weir_status status;
} rig;

static void *resize(void *at, size_t bytes, void *user)
{
    rig *r = user;
    r->live += (at == NULL) - (bytes == 0);
    if (bytes > 0)
        return realloc(at, bytes);
    free(at);
    return NULL;
}

static void resolved(weir_status status, void *user)
{
    rig *r = user;
    r->told++;
    r->status = status;
}

static void rig_open(rig *r, const char *host, struct event_base *base)
{
    *r = (rig){ .env = { .allocator = { resize, r } } };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env, .base = base });
    wi_names_config config = { r->loop, NULL, host, 80, 0, resolved, NULL, r };
    assert_int_equal(wi_names_new(&config, &r->names), WEIR_OK);
}

static void rig_close(rig *r)
{
    wi_names_free(r->names);
    weir_loop_free(r->loop);
    assert_int_equal(r->live, 0);
}

static void numbers_need_no_lookup(void **state)
{
    rig r;
    (void)state;
    rig_open(&r, "::1", NULL);
    assert_int_equal(wi_names_ask(r.names), WEIR_OK);
    assert_int_equal(wi_names_count(r.names), 1);
    assert_int_equal(wi_names_at(r.names, 7)->at.ss_family, AF_INET6);
    rig_close(&r);
}

static void the_hosts_file_answers_at_once(void **state)
{
    rig r;
    (void)state;
    rig_open(&r, "localhost", NULL);
    assert_int_equal(wi_names_ask(r.names), WEIR_OK);
    assert_true(wi_names_count(r.names) > 0);
    wi_names_distrust(r.names);
    assert_int_equal(wi_names_ask(r.names), WEIR_OK);
    assert_int_equal(r.told, 0);
    rig_close(&r);
}

static bool is_asking(rig *r)
{
    return wi_names_ask(r->names) == WEIR_EAGAIN;
}

static void a_lookup_that_is_given_up_is_over_soon(void **state)
{
    rig r;
    (void)state;
    rig_open(&r, "name.invalid", NULL);
    if (!is_asking(&r)) /* nobody can be asked here */
        skip();
    wi_names_give_up(r.names);
    assert_int_equal(r.told, 0);
    for (int i = 0; r.told == 0 && i < 10; i++)
        weir_loop_turn(r.loop);
    assert_int_equal(r.told, 1);
    assert_int_equal(r.status, WEIR_ECANCELED);
    assert_true(is_asking(&r));
    rig_close(&r);
}

static void a_loop_goes_right_after_its_lookup_was_let_go(void **state)
{
    (void)state;
    for (int turns = 0; turns < 4; turns++) {
        rig r;
        rig_open(&r, "name.invalid", NULL);
        (void)is_asking(&r);
        for (int i = 0; i < turns; i++)
            weir_loop_turn(r.loop);
        rig_close(&r);
    }
}

static void a_borrowed_base_ends_a_lookup_after_its_loop(void **state)
{
    (void)state;
    rig r;
    struct event_base *base = event_base_new();
    rig_open(&r, "name.invalid", base);
    (void)is_asking(&r);
    wi_names_free(r.names);
    weir_loop_free(r.loop);
    for (int i = 0; i < 10; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(r.live, 0);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_need_no_lookup),
        cmocka_unit_test(the_hosts_file_answers_at_once),
        cmocka_unit_test(a_lookup_that_is_given_up_is_over_soon),
        cmocka_unit_test(a_loop_goes_right_after_its_lookup_was_let_go),
        cmocka_unit_test(a_borrowed_base_ends_a_lookup_after_its_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

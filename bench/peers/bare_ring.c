/* What the machine gives without a framework: a pointer ring across threads, eventfd wake-ups and
 * direct calls; printed as lines `name=value unit`. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 64,
    RING_SLOTS = 1024,
    BATCH = 64,
    SPINS_BEFORE_YIELD = 2000,
    HOPS_MAX = 16,
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(unsigned core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set); /* one core only: so be it */
}

static void *must_alloc(size_t count, size_t size)
{
    void *memory = aligned_alloc(LINE, (count * size + LINE - 1) / LINE * LINE);
    if (memory == NULL)
        exit(1);
    memset(memory, 0, count * size);
    return memory;
}

typedef struct item {
    _Alignas(LINE) uint64_t number;
} item;

/* Single producer, single consumer; each side has a line of its own and a copy of the other's
 * index, which it renews only when the ring looks full or empty. */
typedef struct ring {
    _Alignas(LINE) _Atomic uint64_t tail;
    uint64_t tail_local;
    uint64_t head_seen;
    _Alignas(LINE) _Atomic uint64_t head;
    uint64_t head_local;
    uint64_t tail_seen;
    _Alignas(LINE) item *slots[RING_SLOTS];
} ring;

static inline bool ring_put(ring *r, item *i)
{
    if (r->tail_local - r->head_seen == RING_SLOTS) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (r->tail_local - r->head_seen == RING_SLOTS)
            return false;
    }
    r->slots[r->tail_local++ % RING_SLOTS] = i;
    return true;
}

static inline void ring_publish(ring *r)
{
    atomic_store_explicit(&r->tail, r->tail_local, memory_order_release);
}

static inline item *ring_take(ring *r)
{
    if (r->head_local == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (r->head_local == r->tail_seen)
            return NULL;
    }
    return r->slots[r->head_local++ % RING_SLOTS];
}

static inline void ring_retire(ring *r)
{
    atomic_store_explicit(&r->head, r->head_local, memory_order_release);
}

/* Waits a little by spinning, then lets others run: cores may be fewer than threads. */
static inline void relax(unsigned *spins)
{
    if (++*spins % SPINS_BEFORE_YIELD == 0)
        sched_yield();
    else
        __builtin_ia32_pause();
}

typedef struct crossing {
    ring *there; /* items to the consumer */
    ring *back;  /* the same items home again */
    uint64_t count;
    uint64_t sum;
    unsigned batch; /* items per publication */
} crossing;

static void *consume(void *user)
{
    crossing *c = user;
    unsigned spins = 0;
    uint64_t done = 0;
    pin(1);
    while (done < c->count) {
        unsigned taken = 0;
        for (item *i; taken < c->batch && (i = ring_take(c->there)) != NULL; taken++) {
            c->sum += i->number;
            while (!ring_put(c->back, i))
                relax(&spins);
        }
        if (taken == 0) {
            relax(&spins);
            continue;
        }
        ring_retire(c->there);
        ring_publish(c->back);
        done += taken;
    }
    return NULL;
}

/* Free items the producer may use: what it holds, else what came home. */
static item *next_free(crossing *c, item **pool, unsigned *pool_count)
{
    if (*pool_count != 0)
        return pool[--*pool_count];
    return ring_take(c->back);
}

static void produce(crossing *c, item **pool, unsigned pool_count)
{
    unsigned spins = 0;
    uint64_t sent = 0;
    while (sent < c->count) {
        unsigned put = 0;
        item *i = NULL;
        while (put < c->batch && sent + put < c->count &&
               (i = next_free(c, pool, &pool_count)) != NULL) {
            i->number = sent + put;
            while (!ring_put(c->there, i))
                relax(&spins);
            put++;
        }
        if (put == 0) {
            relax(&spins);
            continue;
        }
        ring_publish(c->there);
        ring_retire(c->back);
        sent += put;
    }
}

static void measure_ring(const char *name, unsigned batch, uint64_t count)
{
    crossing c = { .there = must_alloc(1, sizeof(ring)),
                   .back = must_alloc(1, sizeof(ring)),
                   .count = count,
                   .batch = batch };
    item *items = must_alloc(RING_SLOTS, sizeof(item));
    item *pool[RING_SLOTS];
    for (unsigned i = 0; i < RING_SLOTS; i++)
        pool[i] = &items[i];
    pthread_t consumer;
    pin(0);
    if (pthread_create(&consumer, NULL, consume, &c) != 0)
        exit(1);
    uint64_t start = now_ns();
    produce(&c, pool, RING_SLOTS);
    pthread_join(consumer, NULL);
    double spent = (double)(now_ns() - start);
    if (c.sum != count * (count - 1) / 2)
        fprintf(stderr, "%s: wrong sum\n", name);
    else
        printf("%s=%.2f M/s\n", name, (double)count / spent * 1e3);
    free(c.there);
    free(c.back);
    free(items);
}

/* One thread writes an eventfd, another sleeps on it in epoll and answers by a second eventfd. */
typedef struct echo {
    int ask;
    int answer;
    unsigned rounds;
    _Atomic uint64_t woke_ns;
} echo;

static void wait_for(int epoll, int fd)
{
    struct epoll_event event;
    uint64_t value;
    while (epoll_wait(epoll, &event, 1, -1) != 1) {
    }
    if (read(fd, &value, sizeof(value)) != sizeof(value))
        exit(1);
}

static int epoll_on(int fd)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        exit(1);
    return epoll;
}

static void ring_bell(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) != sizeof(one))
        exit(1);
}

static void *answer_all(void *user)
{
    echo *e = user;
    int epoll = epoll_on(e->ask);
    pin(1);
    for (unsigned i = 0; i < e->rounds; i++) {
        wait_for(epoll, e->ask);
        atomic_store(&e->woke_ns, now_ns());
        ring_bell(e->answer);
    }
    close(epoll);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, const char *kind, uint64_t *times, unsigned count)
{
    qsort(times, count, sizeof(*times), by_size);
    printf("%s_%s_p50=%.2f us\n", name, kind, (double)times[count / 2] * 1e-3);
    printf("%s_%s_p99=%.2f us\n", name, kind, (double)times[count * 99 / 100] * 1e-3);
}

/* `pause_us` between rounds lets the other core go idle: a cold wake, as an idle server has it. */
static void measure_eventfd(const char *name, unsigned rounds, unsigned pause_us)
{
    echo e = { .ask = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
               .answer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
               .rounds = rounds };
    uint64_t *one_way = must_alloc(rounds, sizeof(uint64_t));
    uint64_t *round_trip = must_alloc(rounds, sizeof(uint64_t));
    pthread_t other;
    pin(0);
    if (pthread_create(&other, NULL, answer_all, &e) != 0)
        exit(1);
    int epoll = epoll_on(e.answer);
    for (unsigned i = 0; i < rounds; i++) {
        if (pause_us != 0)
            usleep(pause_us);
        uint64_t start = now_ns();
        ring_bell(e.ask);
        wait_for(epoll, e.answer);
        round_trip[i] = now_ns() - start;
        one_way[i] = atomic_load(&e.woke_ns) - start;
    }
    pthread_join(other, NULL);
    print_percentiles(name, "oneway", one_way, rounds);
    print_percentiles(name, "roundtrip", round_trip, rounds);
    close(epoll);
    close(e.ask);
    close(e.answer);
    free(one_way);
    free(round_trip);
}

typedef struct hop {
    void (*call)(struct hop *self, item *i);
    struct hop *next;
    uint64_t sum;
} hop;

static void hop_forward(hop *self, item *i)
{
    i->number += 3;
    self->next->call(self->next, i);
    __asm__ volatile("" ::: "memory"); /* no tail call: stages return to their caller */
}

static void hop_last(hop *self, item *i)
{
    self->sum += i->number;
}

static void measure_calls(unsigned hops, uint64_t count)
{
    hop chain[HOPS_MAX];
    item i = { .number = 0 };
    for (unsigned h = 0; h < hops; h++)
        chain[h] = (hop){ .call = h + 1 < hops ? hop_forward : hop_last, .next = &chain[h + 1] };
    hop *volatile first = chain; /* keeps the calls indirect */
    uint64_t start = now_ns();
    for (uint64_t n = 0; n < count; n++)
        first->call(first, &i);
    double spent = (double)(now_ns() - start);
    printf("direct_call_%u_hops=%.3f ns/hop\n", hops, spent / (double)count / hops);
}

int main(int argc, char **argv)
{
    bool quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    if (argc > 1 && !quick) {
        puts("bare_ring [--quick]: rings, eventfds and direct calls without a framework");
        return strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    uint64_t scale = quick ? 1 : 4;
    measure_ring("bare_ring_batched", BATCH, scale * 10000000);
    measure_ring("bare_ring_single", 1, scale * 5000000);
    measure_eventfd("eventfd_cold", quick ? 500 : 2000, 200);
    measure_eventfd("eventfd_busy", quick ? 2000 : 10000, 0);
    measure_calls(3, scale * 10000000);
    measure_calls(10, scale * 5000000);
    return 0;
}

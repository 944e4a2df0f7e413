/* Turns of a loop that the test turns itself, on a clock of its own. Behind `rig`, with its
 * `clock_ns`, and `turn(rig *)`. */
#ifndef TURNS_H
#define TURNS_H

static inline void turns(rig *r, int n)
{
    while (n-- > 0)
        turn(r);
}

static inline void pass_ms(rig *r, uint64_t ms)
{
    for (; ms > 0; ms--) {
        r->clock_ns += WEIR_MS;
        turns(r, 2);
    }
}

#define TURN_UNTIL(r, condition)                            \
    do {                                                    \
        uint64_t until_ = server_now_ms() + PATIENCE_MS;    \
        while (!(condition)) {                              \
            if (server_now_ms() >= until_)                  \
                fail_msg("waited in vain: %s", #condition); \
            turn(r);                                        \
        }                                                   \
    } while (0)

#endif

/* A model of the edge between two loops, for Spin (https://spinroot.com): core/edge.c, the sleep and
 * the bell of core/loop.c, and wi_settle of core/wi_hot.h.
 *
 * Edge e goes from loop e to loop 1 - e. What a loop stores for others goes through a FIFO store
 * buffer and is seen by the other when the buffer's own process commits it: total store order, which
 * is as weak as release stores and acquire loads between two threads get. A fence waits until the
 * buffer is empty; an exchange does too. The stores and loads stand in the order of the code.
 *
 * Not modelled: the window of bytes (its counter is published as the credit is), errors that jump
 * the data, posts and items that go home (the same flag, fence and bell), a clock.
 *
 * -DWINDOW=1..3 -DITEMS=n -DBOTH (two edges, one each way) -DBACK=n (items the other way)
 * -DCANCEL (the receiver may cancel) -DSPURIOUS=n (how often a loop wakes for nothing). Variants that are wrong, and must be found:
 * NO_FENCE_PUBLISH NO_FENCE_SLEEP FLAG_LATE CREDIT_EARLY BELL_FIRST END_FIRST SLOT_LATE CREDIT_LOST */

#if WINDOW <= 2
#define SLOTS WINDOW
#else
#define SLOTS 4
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif
#ifdef BOTH
#define SENDS(loop) true
#else
#define SENDS(loop) (loop == 0)
#endif
#ifndef BACK
#define BACK ITEMS
#endif
#define ITEMS_OF(loop) (loop == 0 -> ITEMS : BACK)
#define BUFFERED       6

/* What a store is to. Those of the sender are to the loop's own edge, those of the receiver to the
 * other's. */
#define TAIL     0
#define END      1
#define GRANTED  2
#define CANCELED 3
#define SLEEPING 4
#define SLOT     5

/* Memory, as the other thread sees it. */
byte tail_shared[2], granted_shared[2], slot[2 * SLOTS];
bit end_shared[2], cancel_shared[2], sleeping[2], bell[2];
chan buffer[2] = [BUFFERED] of { byte, byte };

/* The sender's half of edge e, and the receiver's. */
byte out_tail[2], out_granted[2];
bit out_over[2], out_ended[2], dirty_out[2];
byte in_head[2], in_granted[2], in_demand[2], in_tail_seen[2];
bit in_over[2], in_cancelled[2], in_end_seen[2], dirty_in[2], must_release[2];
bit asleep[2], done[2]; /* for the properties only */

#define store(to, value) buffer[me] ! to, value
#define fence()          empty(buffer[me])

proctype memory(byte me)
{
    byte to, value;
end:
    do
    :: atomic {
        buffer[me] ? to, value ->
            if
            :: to == TAIL -> tail_shared[me] = value
            :: to == END -> end_shared[me] = 1
            :: to == GRANTED -> granted_shared[1 - me] = value
            :: to == CANCELED -> cancel_shared[1 - me] = 1
            :: to == SLEEPING -> sleeping[me] = value
            :: to >= SLOT -> slot[me * SLOTS + to - SLOT] = value
            fi;
            to = 0;
            value = 0
        }
    od
}

/* poll_items: the end first, then the tail, so that an end that is seen comes with all its data. */
inline poll_items()
{
    end = end_shared[from];
    tail = tail_shared[from];
    if
    :: in_cancelled[from] ->
        if
        :: tail != in_head[from] -> release_queue()
        :: else
        fi;
        d_step {
            if
            :: end && !in_end_seen[from] ->
                in_end_seen[from] = 1;
                assert(in_head[from] == out_tail[from]) /* all was released */
            :: else
            fi
        }
    :: else ->
        d_step {
            in_tail_seen[from] = tail;
            in_end_seen[from] = in_end_seen[from] || end
        }
    fi;
    d_step {
        end = 0;
        tail = 0
    }
}

inline release_queue()
{
    d_step {
        in_tail_seen[from] = tail_shared[from];
        in_head[from] = in_tail_seen[from];
        must_release[from] = 0
    }
}

inline poll_credit()
{
    tail = granted_shared[me];
    if
    :: out_over[me]
    :: !out_over[me] ->
        if
        :: cancel_shared[me] ->
            d_step {
                out_over[me] = 1;
                out_ended[me] = 1;
                dirty_out[me] = 1
            }
        :: else ->
            d_step {
                assert(out_granted[me] <= tail && tail <= in_granted[me]);
                out_granted[me] = tail
            }
        fi
    fi;
    tail = 0
}

/* wi_settle: credit that is due, or all that is owed when forced. */
inline settle(force)
{
    d_step {
        room = in_head[from] + WINDOW - in_granted[from];
        owed = (in_demand[from] < room -> in_demand[from] : room);
        if
        :: !in_over[from] && owed != 0 &&
            (force || owed * 2 >= WINDOW || in_granted[from] == in_tail_seen[from]) ->
            in_demand[from] = in_demand[from] - owed;
            in_granted[from] = in_granted[from] + owed;
            dirty_in[from] = 1
        :: else
        fi;
#ifndef CREDIT_EARLY
        assert(in_granted[from] - in_head[from] <= WINDOW);
#endif
        room = 0;
        owed = 0
    }
}

/* A visit of the receiving stage: what is queued, the end, and a wish for more. */
inline receive()
{
#ifdef CREDIT_EARLY
    /* wrong: the slots of what is queued count as free before they were read */
    if
    :: !in_over[from] && in_tail_seen[from] != in_head[from] ->
        store(GRANTED, in_tail_seen[from] + WINDOW);
        in_granted[from] = in_tail_seen[from] + WINDOW
    :: else
    fi;
#endif
    if
    :: must_release[from] -> release_queue()
    :: else
    fi;
    do
    :: atomic {
        !in_over[from] && in_head[from] != in_tail_seen[from] ->
            assert(slot[from * SLOTS + in_head[from] % SLOTS] == in_head[from] + 1);
            in_head[from]++
        }
    :: !in_over[from] && in_head[from] != in_tail_seen[from] && !busy -> busy = 1; break
    :: in_over[from] || in_head[from] == in_tail_seen[from] -> break
    od;
    settle(false);
    if
    :: in_end_seen[from] && !in_over[from] ->
        in_tail_seen[from] = tail_shared[from]; /* take_end looks again */
        d_step {
            if
            :: in_tail_seen[from] == in_head[from] ->
                in_over[from] = 1;
                in_demand[from] = 0;
                assert(in_head[from] == out_tail[from]) /* the end comes after all data */
            :: else -> busy = 1
            fi
        }
    :: else
    fi;
    if
    :: !in_over[from] && in_demand[from] + in_granted[from] - in_head[from] == 0 ->
        if /* must ask for one at least, or nothing will ever move */
        :: in_demand[from] = 1
        :: in_demand[from] = WINDOW + 1
        fi;
        settle(false)
    :: !in_over[from] && in_demand[from] == 0 && in_granted[from] <= ITEMS_OF(from) ->
        in_demand[from] = 1;
        settle(false)
    :: else
    fi;
#ifdef CANCEL
    if
    :: !in_over[from] ->
        d_step {
            in_over[from] = 1;
            in_cancelled[from] = 1;
            in_demand[from] = 0;
            must_release[from] = 1;
            dirty_in[from] = 1;
            busy = 1
        }
    :: true
    fi
#endif
}

inline emit()
{
#ifdef SLOT_LATE
    store(TAIL, out_tail[me] + 1); /* wrong: before what it tells of */
#endif
    store(SLOT + out_tail[me] % SLOTS, out_tail[me] + 1);
    d_step {
        out_tail[me]++;
        dirty_out[me] = 1;
        assert(out_tail[me] - in_head[me] <= WINDOW)
    }
}

/* A visit of the sending stage: emits as it may, and ends at any time after, at the latest. */
inline send()
{
    do
    :: !out_over[me] && out_tail[me] < ITEMS_OF(me) && out_tail[me] != out_granted[me] ->
        emit();
        if
        :: store(TAIL, out_tail[me]) /* early, with no bell: a vector is full */
        :: true
        fi
    :: !out_over[me] && out_tail[me] < ITEMS_OF(me) && out_tail[me] != out_granted[me] && !busy ->
        busy = 1; /* the turn's budget is used up */
        break
    :: !out_over[me] && (out_tail[me] == ITEMS_OF(me) || out_tail[me] == out_granted[me]) ->
        if
        :: d_step {
            out_over[me] = 1;
            out_ended[me] = 1;
            dirty_out[me] = 1
            }
        :: out_tail[me] < ITEMS_OF(me)
        fi;
        break
    :: out_over[me] -> break
    od
}

/* wi_loop_ring: a relaxed load first, as most bells need not be rung. */
inline ring()
{
    if
    :: rings && sleeping[1 - me] ->
        atomic {
            fence() -> rings = sleeping[1 - me];
            sleeping[1 - me] = 0
        };
        if
        :: rings -> bell[1 - me] = 1
        :: else
        fi
    :: else
    fi;
    rings = 0
}

/* First all stores, ... */
inline publish()
{
    if
    :: dirty_out[me] ->
#ifdef END_FIRST
        if
        :: out_ended[me] -> store(END, 1)
        :: else
        fi;
#endif
        store(TAIL, out_tail[me]);
        if
        :: out_ended[me] -> store(END, 1)
        :: else
        fi
    :: else
    fi;
    if
    :: dirty_in[from] ->
        if
        :: in_cancelled[from] -> store(CANCELED, 1)
        :: else
        fi;
#ifdef CREDIT_LOST
        if /* wrong: what is owed waits for a turn that has nothing to send */
        :: dirty_out[me]
        :: else -> store(GRANTED, in_granted[from])
        fi
#else
        store(GRANTED, in_granted[from])
#endif
    :: else
    fi;
    d_step {
        rings = dirty_out[me] || dirty_in[from];
        dirty_out[me] = 0;
        dirty_in[from] = 0
    }
}

/* wi_edges_pending: one load after the other. */
inline look()
{
    d_step {
        sleeps = 1
    };
    if
    :: SENDS(from) ->
        if
        :: tail_shared[from] != (in_cancelled[from] -> in_head[from] : in_tail_seen[from]) ->
            sleeps = 0
        :: else
        fi;
        if
        :: !in_end_seen[from] && end_shared[from] -> sleeps = 0
        :: else
        fi
    :: else
    fi;
    if
    :: SENDS(me) && !out_over[me] ->
        if
        :: granted_shared[me] != out_granted[me] -> sleeps = 0
        :: else
        fi;
        if
        :: cancel_shared[me] -> sleeps = 0
        :: else
        fi
    :: else
    fi
}

#define IS_OVER                                                                             \
    ((!SENDS(me) || out_over[me]) &&                                                        \
     (!SENDS(from) || (in_over[from] && in_end_seen[from] && !must_release[from])) &&       \
     !dirty_out[me] && !dirty_in[from])

inline sleep_or_poll()
{
    if
    :: busy -> bell[me] = 0 /* looks at the descriptors, without waiting */
    :: !busy && IS_OVER     /* the last stage's end has posted what comes next */
    :: else ->
#ifdef FLAG_LATE
        look();
        store(SLEEPING, 1);
        fence();
#else
        store(SLEEPING, 1);
#ifndef NO_FENCE_SLEEP
        fence();
#endif
        look();
#endif
        if
        :: sleeps ->
            asleep[me] = 1;
            if
            :: bell[me]
            :: spurious < SPURIOUS -> spurious++ /* a timer, a descriptor */
            fi;
            asleep[me] = 0
        :: else
        fi;
        bell[me] = 0;
        store(SLEEPING, 0)
    fi;
    d_step {
        sleeps = 0;
        busy = 0
    }
}

proctype loop(byte me, from)
{
    byte tail, room, owed, spurious;
    bit end, busy, sleeps, rings;
    do
    :: IS_OVER -> break
    :: else ->
        if
        :: SENDS(from) -> poll_items()
        :: else
        fi;
        if
        :: SENDS(me) -> poll_credit()
        :: else
        fi;
        atomic { /* no loads of what the other stores but of slots, and one look at the tail */
            if
            :: SENDS(from) -> receive()
            :: else
            fi;
            if
            :: SENDS(me) -> send()
            :: else
            fi;
            if
            :: SENDS(from) && !busy -> settle(true) /* the end of the drain */
            :: else
            fi
        };
#ifdef BELL_FIRST
        rings = dirty_out[me] || dirty_in[from];
        ring();
        atomic {
            publish();
            rings = 0
        };
#else
        atomic {
            publish()
        };
        if /* ... then one fence for all, then the bells */
        :: rings ->
#ifndef NO_FENCE_PUBLISH
            fence();
#endif
            ring()
        :: else
        fi;
#endif
        sleep_or_poll()
    od;
    fence();
    d_step {
        done[me] = 1;
        tail = 0;
        room = 0;
        owed = 0;
        spurious = 0
    }
}

#define QUIET(loop) ((asleep[loop] && !bell[loop]) || done[loop])

/* When nobody is about to do anything, both ends of an edge must know the same. That something is
 * still to be done then, Spin finds as an invalid end state: a loop that sleeps for good. */
active proctype watch()
{
    byte e;
end:
    do
    :: atomic {
        QUIET(0) && QUIET(1) && empty(buffer[0]) && empty(buffer[1]) &&
            !(done[0] && done[1]) ->
            for (e : 0 .. 1) {
                assert(out_over[e] || in_over[e] || out_granted[e] == in_granted[e]);
                assert(in_over[e] || in_tail_seen[e] == out_tail[e])
            }
            break
        }
    :: atomic {
        done[0] && done[1] ->
            for (e : 0 .. 1) {
                assert(!SENDS(e) || in_head[e] == out_tail[e]) /* all was delivered or released */
            }
            break
        }
    od
}

init
{
    atomic {
        run memory(0);
        run memory(1);
        run loop(0, 1);
        run loop(1, 0)
    }
}

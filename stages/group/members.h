/* Items that wait to be joined: what batch and the windows share. */
#ifndef WI_MEMBERS_H
#define WI_MEMBERS_H

#include <weir/stages.h>

typedef struct wi_members {
    weir_item **items; /* those held are items[head .. head + n) */
    uint64_t *stamps;  /* a time of each; NULL if not kept */
    uint32_t head, n, room;
} wi_members;

weir_status wi_members_init(wi_members *members, const weir_env *env, uint32_t room,
                            bool is_stamped);
/* Makes room for so many; there never is less than before. On an error nothing changed. */
weir_status wi_members_reserve(wi_members *members, const weir_env *env, uint32_t room);
/* Ends all as aborted; done frees as well. */
void wi_members_abort(wi_members *members);
void wi_members_done(wi_members *members, const weir_env *env);
/* A callback of stages whose state begins with them. */
void wi_members_close(weir_stage *stage, void *state);
/* Takes `items`. What there is no room for fails: it comes on top of what was asked for, from a
 * retry policy. */
void wi_members_add(weir_stage *stage, wi_members *members, weir_item **items, size_t n,
                    uint64_t stamp);
/* Joins the first `n` and emits them; needs credit. The last `stay` of them stay here too. Without
 * memory those that would have left fail. */
void wi_members_emit(weir_stage *stage, wi_members *members, uint32_t n, uint32_t stay);

/* A window by time is a batch whose time is that of the clock, not of its oldest member. */
weir_stage_spec *wi_window_by_time(const weir_window_config *config);

#endif

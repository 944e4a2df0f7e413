/* What the admin's server and its pages share. */
#ifndef WI_ADMIN_INTERNAL_H
#define WI_ADMIN_INTERNAL_H

#include <weir/admin.h>
#include <weir/http1.h>

/* A text that grows; once an allocation failed it stays as it is and says so. */
typedef struct wi_text {
    const weir_env *env;
    char *at;
    size_t len, cap;
    bool failed;
} wi_text;

void wi_text_printf(wi_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void wi_text_append(wi_text *text, const char *at, size_t n);
/* A JSON string, quoted and escaped. */
void wi_text_json(wi_text *text, const char *string);
void wi_text_done(wi_text *text);

/* How far the receiver of an edge has come. */
typedef struct wi_admin_edge {
    uint64_t moved;           /* items it took, gave or ended */
    uint64_t in_flight;       /* operations under way */
    uint64_t in_flight_least; /* seen so far: what it holds for itself, like a connection */
    uint64_t since_ns;        /* since when it has work and nothing moves; 0: not so */
} wi_admin_edge;

typedef struct wi_admin_watch {
    weir_pipeline *pipeline;
    wi_admin_edge *edges;
    uint32_t edge_count;
} wi_admin_watch;

typedef struct wi_admin_pages {
    const weir_env *env;
    weir_admin_config config; /* with its defaults filled in */
    wi_admin_watch *watches;  /* one per pipeline */
} wi_admin_pages;

typedef struct wi_admin_page {
    unsigned status;
    const char *content_type;
    wi_text body;
} wi_admin_page;

weir_status wi_admin_pages_init(wi_admin_pages *pages, const weir_env *env,
                                const weir_admin_config *config);
void wi_admin_pages_done(wi_admin_pages *pages);
/* Notes which edges have moved. */
void wi_admin_pages_sample(wi_admin_pages *pages, uint64_t now_ns);
/* Answers a request; `page` is zeroed but for its body's env. */
void wi_admin_pages_answer(wi_admin_pages *pages, const weir_http1_head *request, uint64_t now_ns,
                           wi_admin_page *page);

#endif

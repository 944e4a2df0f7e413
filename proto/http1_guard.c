/* The strict pass over the raw bytes of a head, in front of a parser that forgives too much.
 *
 * It is a state machine over bytes, so its verdict cannot depend on how they were cut: every
 * check looks at a byte and at the position it stands at, or waits for the bytes it needs. */
#include "http1_internal.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define METHOD_BYTES_MAX 32u /* the longest one known has 11 */

enum state {
    BEGIN, /* the initial state of a zeroed scan */
    BEGIN_LF,
    METHOD,
    TARGET,
    VERSION,
    STATUS_LINE,
    FIELD_START,
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
};

enum flags { BLANK_SEEN = 1, IS_CONNECT = 2, IS_OPTIONS = 4, IN_QUERY = 8 };

typedef enum step { GO, MORE, COMPLETE, REFUSED } step;

typedef struct guard {
    const unsigned char *base, *p, *end;
    uint32_t mark; /* where the element that is being scanned began */
    uint32_t target_max;
    uint32_t fields_max;
    uint16_t field_count;
    uint8_t state;
    uint8_t flags;
    bool response, too_large;
    weir_http1_field *fields; /* where to note the field lines, or NULL */
    wi_http1_refusal refusal;
} guard;

static step refuse(guard *g, unsigned status, const char *why)
{
    g->too_large = status == 414 || status == 431;
    g->refusal.status = (uint16_t)(g->response ? 502 : status);
    g->refusal.why = why;
    return REFUSED;
}

static void enter(guard *g, enum state state)
{
    g->state = (uint8_t)state;
    g->mark = (uint32_t)(g->p - g->base);
}

static step begin(guard *g)
{
    if (g->response) {
        enter(g, STATUS_LINE);
    } else if (*g->p == '\r' && !(g->flags & BLANK_SEEN)) {
        g->flags |= BLANK_SEEN;
        g->p++;
        enter(g, BEGIN_LF);
    } else {
        enter(g, METHOD);
    }
    return GO;
}

static step begin_lf(guard *g)
{
    if (*g->p != '\n')
        return refuse(g, 400, "CR without LF before the request line");
    g->p++;
    enter(g, BEGIN);
    return GO;
}

static step method(guard *g)
{
    const unsigned char *start = g->base + g->mark;
    while (g->p < g->end && wi_http1_is(*g->p, WI_TOKEN)) {
        if ((size_t)(g->p - start) >= METHOD_BYTES_MAX)
            return refuse(g, 501, "unknown method");
        g->p++;
    }
    if (g->p == g->end)
        return MORE;
    if (*g->p != ' ' || g->p == start)
        return refuse(g, 400, "malformed method");
    size_t len = (size_t)(g->p - start);
    if (len == 7 && memcmp(start, "CONNECT", 7) == 0)
        g->flags |= IS_CONNECT;
    if (len == 7 && memcmp(start, "OPTIONS", 7) == 0)
        g->flags |= IS_OPTIONS;
    g->p++;
    enter(g, TARGET);
    return GO;
}

/* "%41": waits for both digits, and refuses what is no digit as soon as it is there. */
static step percent(guard *g)
{
    for (size_t i = 1; i <= 2; i++) {
        if ((size_t)(g->end - g->p) <= i)
            return MORE;
        if (!wi_http1_is(g->p[i], WI_HEX))
            return refuse(g, 400, "malformed percent-encoding in the target");
    }
    g->p += 3;
    return GO;
}

static step target_end(guard *g)
{
    const unsigned char *start = g->base + g->mark;
    if (!wi_http1_target_ok((const char *)start, (size_t)(g->p - start), g->flags & IS_CONNECT,
                            g->flags & IS_OPTIONS))
        return refuse(g, 400, "malformed request target");
    g->p++;
    enter(g, VERSION);
    return GO;
}

/* Brackets are for address literals only; the form check at the end looks closer. */
static bool bracket_may_stand(const guard *g, unsigned char c, size_t len)
{
    if (len == 0)
        return c == '[' && (g->flags & IS_CONNECT);
    return (c == '[' || c == ']') && g->base[g->mark] != '/';
}

/* What only a query may have. Where that begins is looked for once. */
static bool raw_may_stand(guard *g, unsigned char c, size_t len)
{
    if (!wi_http1_is_raw(c))
        return false;
    if (!(g->flags & IN_QUERY) && memchr(g->base + g->mark, '?', len) != NULL)
        g->flags |= IN_QUERY;
    return g->flags & IN_QUERY;
}

static step target(guard *g)
{
    const unsigned char *start = g->base + g->mark;
    while (g->p < g->end) {
        unsigned char c = *g->p;
        size_t len = (size_t)(g->p - start);
        if (len > g->target_max || (len == g->target_max && c != ' '))
            return refuse(g, 414, "request target too long");
        if (wi_http1_is(c, WI_TARGET)) {
            g->p++;
        } else if (c == ' ') {
            return target_end(g);
        } else if (c == '%') {
            step next = percent(g);
            if (next != GO)
                return next;
        } else if (bracket_may_stand(g, c, len) || raw_may_stand(g, c, len)) {
            g->p++;
        } else {
            return refuse(g, 400, "malformed request target");
        }
    }
    return MORE;
}

/* Matches a pattern in which '#' stands for a digit, from where the element began. */
static step pattern(guard *g, const char *text, size_t len)
{
    size_t i = (size_t)(g->p - g->base) - g->mark;
    for (; g->p < g->end && i < len; i++, g->p++) {
        if (text[i] == '#' ? !wi_http1_is(*g->p, WI_DIGIT) : *g->p != (unsigned char)text[i])
            return refuse(g, 400, "malformed start line");
        if (i == 8 && g->base[g->mark + 5] != '1')
            return refuse(g, 505, "only HTTP/1.x is spoken here");
    }
    return i == len ? GO : MORE;
}

static step version(guard *g)
{
    if (g->end - g->p >= 10 && g->p == g->base + g->mark && memcmp(g->p, "HTTP/1.1\r\n", 10) == 0) {
        g->p += 10;
        enter(g, FIELD_START);
        return GO;
    }
    step next = pattern(g, "HTTP/#.#\r\n", 10);
    if (next == GO)
        enter(g, FIELD_START);
    return next;
}

static step status_line(guard *g)
{
    step next = pattern(g, "HTTP/#.# ### ", 13);
    if (next != GO)
        return next;
    unsigned char hundreds = g->base[g->mark + 9];
    if (hundreds < '1') /* above 599 there is nothing, but it is in use (RFC 9110 section 15) */
        return refuse(g, 502, "status code out of range");
    enter(g, VALUE); /* a reason phrase has the grammar of a field value */
    return GO;
}

const unsigned char *wi_http1_value_end(const unsigned char *p, const unsigned char *end)
{
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab),
                                           _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
        int bad = _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
        if (bad != 0)
            return p + __builtin_ctz((unsigned)bad);
    }
#endif
    while (p < end && wi_http1_is(*p, WI_VALUE))
        p++;
    return p;
}

/* From the first byte of a field line: its name up to the colon, or the end of the head. */
static step field_start(guard *g)
{
    unsigned char c = *g->p;
    if (c == '\r') {
        g->p++;
        enter(g, END_LF);
        return GO;
    }
    if (c == ' ' || c == '\t')
        return refuse(g, 400, "line folding");
    if (!wi_http1_is(c, WI_TOKEN))
        return refuse(g, 400, "malformed field name");
    if (g->field_count >= g->fields_max)
        return refuse(g, 431, "too many fields");
    g->field_count++;
    enter(g, NAME);
    return GO;
}

/* The colon stands at `p`. */
static void note_name(const guard *g, const unsigned char *p)
{
    weir_http1_field *field = &g->fields[g->field_count - 1];
    const char *name = (const char *)g->base + g->mark;
    *field = (weir_http1_field){ { name, (size_t)((const char *)p - name) },
                                 { (const char *)p + 1, 0 } };
}

/* The CR behind the value stands at `p`. */
static void note_value(const guard *g, const unsigned char *p)
{
    weir_http1_span *value = &g->fields[g->field_count - 1].value;
    const char *at = value->at, *end = (const char *)p;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *value = (weir_http1_span){ at, (size_t)(end - at) };
}

/* The body of a field line; falls from state to state, as this is where the time goes. */
static step field(guard *g)
{
    const unsigned char *p = g->p, *end = g->end;
    switch ((enum state)g->state) {
    case NAME:
        while (p < end && wi_http1_is(*p, WI_TOKEN))
            p++;
        g->p = p;
        if (p == end)
            return MORE;
        if (*p != ':')
            return refuse(g, 400, "malformed field name");
        if (g->fields != NULL)
            note_name(g, p);
        g->p = ++p;
        g->state = VALUE;
        /* fall through */
    case VALUE:
        g->p = p = wi_http1_value_end(p, end);
        if (p == end)
            return MORE;
        if (*p != '\r')
            return refuse(g, 400, *p == '\n' ? "LF without CR" : "control character in a field");
        if (g->fields != NULL && g->field_count > 0) /* a reason phrase comes by here too */
            note_value(g, p);
        g->p = ++p;
        g->state = VALUE_LF;
        /* fall through */
    default:
        if (p == end)
            return MORE;
        if (*p != '\n')
            return refuse(g, 400, "CR without LF");
        g->p = p + 1;
        g->state = FIELD_START;
        return GO;
    }
}

static step end_lf(guard *g)
{
    if (*g->p != '\n')
        return refuse(g, 400, "CR without LF");
    g->p++;
    return COMPLETE;
}

static step advance(guard *g)
{
    switch ((enum state)g->state) {
    case BEGIN:
        return begin(g);
    case BEGIN_LF:
        return begin_lf(g);
    case METHOD:
        return method(g);
    case TARGET:
        return target(g);
    case VERSION:
        return version(g);
    case STATUS_LINE:
        return status_line(g);
    case FIELD_START:
        return field_start(g);
    case NAME:
    case VALUE:
    case VALUE_LF:
        return field(g);
    case END_LF:
        return end_lf(g);
    }
    return refuse(g, 400, "malformed");
}

static weir_status incomplete(guard *g, bool full)
{
    if (!full)
        return WEIR_EPARTIAL;
    if (g->state == TARGET)
        refuse(g, 414, "request target too long");
    else
        refuse(g, 431, "head too large");
    return WEIR_ELIMIT;
}

weir_status wi_http1_guard(const wi_http1_bounds *bounds, bool response, const char *buf,
                           size_t len, weir_http1_scan *scan, weir_http1_field *fields,
                           wi_http1_refusal *ret_refusal)
{
    bool full = len >= bounds->head;
    guard g = { .base = (const unsigned char *)buf,
                .mark = scan->mark,
                .target_max = bounds->target,
                .fields_max = bounds->fields,
                .field_count = scan->field_count,
                .state = scan->state,
                .flags = scan->flags,
                .response = response,
                .fields = fields };
    g.p = g.base + scan->at;
    g.end = g.base + (full ? bounds->head : len);

    step next = MORE;
    while (g.p < g.end && (next = advance(&g)) == GO)
        ;
    scan->at = (uint32_t)(g.p - g.base);
    scan->mark = g.mark;
    scan->field_count = g.field_count;
    scan->state = g.state;
    scan->flags = g.flags;
    if (next == COMPLETE)
        return WEIR_OK;
    weir_status status = WEIR_EPROTO;
    if (next != REFUSED)
        status = incomplete(&g, full);
    else if (g.too_large)
        status = WEIR_ELIMIT;
    if (status != WEIR_EPARTIAL)
        *ret_refusal = g.refusal;
    return status;
}

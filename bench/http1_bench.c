/* What a request head costs: http-parser alone, the strict guard alone, and both as one call. */
#include "../proto/http1_internal.h"

#include <http_parser.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 9
#define CALLS  200000

static const char post[] =
    "POST /orders HTTP/1.1\r\n"
    "Host: 127.0.0.1:8080\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 67\r\n"
    "User-Agent: weir-bench/1.0.0 (linux; x86_64)\r\n"
    "\r\n"
    "{\"id\": \"A-000001\", \"amount\": 12.50, \"currency\": \"EUR\", \"items\": []}";

static volatile uint64_t sink;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ignore_data(http_parser *parser, const char *at, size_t len)
{
    (void)at;
    *(uint64_t *)parser->data += len;
    return 0;
}

static int ignore(http_parser *parser)
{
    *(uint64_t *)parser->data += 1;
    return 0;
}

static void raw_parser(void)
{
    static const http_parser_settings settings = {
        .on_url = ignore_data,
        .on_header_field = ignore_data,
        .on_header_value = ignore_data,
        .on_body = ignore_data,
        .on_headers_complete = ignore,
        .on_message_complete = ignore,
    };
    uint64_t sum = 0;
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &sum;
    if (http_parser_execute(&parser, &settings, post, sizeof post - 1) != sizeof post - 1)
        abort();
    sink += sum;
}

static void guard_alone(void)
{
    static weir_http1_field fields[100];
    const wi_http1_bounds bounds = { 8192, 16384, 100 };
    weir_http1_scan scan = { 0 };
    wi_http1_refusal refusal;
    if (wi_http1_guard(&bounds, false, post, sizeof post - 1, &scan, fields, &refusal) != WEIR_OK)
        abort();
    sink += scan.at;
}

static void whole_head(void)
{
    static weir_http1_field fields[100];
    weir_http1_head head = { .fields = fields, .field_cap = 100 };
    weir_http1_scan scan = { 0 };
    size_t consumed;
    if (weir_http1_request_head(NULL, post, sizeof post - 1, &scan, &head, &consumed) != WEIR_OK)
        abort();
    sink += consumed + head.field_count;
}

static void head_and_body(void)
{
    static weir_http1_field fields[100];
    weir_http1_head head = { .fields = fields, .field_cap = 100 };
    weir_http1_scan scan = { 0 };
    weir_http1_body body;
    weir_http1_span data;
    size_t consumed, used;
    if (weir_http1_request_head(NULL, post, sizeof post - 1, &scan, &head, &consumed) != WEIR_OK)
        abort();
    weir_http1_body_init(&body, NULL, &head);
    if (weir_http1_body_feed(&body, post + consumed, sizeof post - 1 - consumed, &data, &used) !=
        WEIR_OK)
        abort();
    sink += data.len;
}

static void write_head(void)
{
    static weir_http1_date date;
    char buf[512];
    size_t len;
    const weir_http1_response response = {
        .status = 201,
        .framing = WEIR_HTTP1_LENGTH,
        .content_length = 47,
        .date = weir_http1_date_at(&date, 1700000000),
        .content_type = { "application/json", 16 },
    };
    if (weir_http1_write_response_head(&response, buf, sizeof buf, &len) != WEIR_OK)
        abort();
    sink += len;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } rows[] = {
        { "http-parser, whole message", raw_parser }, { "guard alone", guard_alone },
        { "request head, all checks", whole_head },   { "request head and body", head_and_body },
        { "response head written", write_head },
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    static double ns[ROWS][ROUNDS];

    for (int round = 0; round < ROUNDS; round++)
        for (int row = 0; row < ROWS; row++) {
            double start = now_ns();
            for (int i = 0; i < CALLS; i++)
                rows[row].run();
            ns[row][round] = (now_ns() - start) / CALLS;
        }
    printf("HTTP/1.1 message of %zu bytes; ns, median of %d rounds (least)\n", sizeof post - 1,
           ROUNDS);
    for (int row = 0; row < ROWS; row++) {
        qsort(ns[row], ROUNDS, sizeof(double), by_value);
        printf("%-32s %8.1f (%.1f)\n", rows[row].name, ns[row][ROUNDS / 2], ns[row][0]);
    }
    return 0;
}

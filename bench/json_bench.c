/* Times the JSON reader and writer on a 206-byte order, beside jansson where it is found. */
#include <weir/json.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(WEIR_BENCH_JANSSON)
#include <jansson.h>
#endif

static const char order[] =
    "{\"id\":\"A-1\",\"amount\":12.5,\"currency\":\"EUR\",\"items\":["
    "{\"sku\":\"x-0001\",\"qty\":1,\"price\":12.5},{\"sku\":\"y-0001\",\"qty\":2,\"price\":3.25},"
    "{\"sku\":\"z-0022\",\"qty\":10,\"price\":0.99},{\"sku\":\"w-00333\",\"qty\":3,\"price\":7.5}]}";

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Every run hides the text from the optimiser, so nothing is carried over. */
static const char *hidden(const char *text)
{
    __asm__ volatile("" : "+r"(text) : : "memory");
    return text;
}

static double read_tokens(size_t len)
{
    weir_json_reader reader;
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    double sum = 0;
    if (weir_json_open(&reader, hidden(order), len, NULL) != WEIR_OK)
        abort();
    do {
        if (weir_json_next(&reader, &token) != WEIR_OK)
            abort();
        sum += (double)token.len;
    } while (token.kind != WEIR_JSON_END);
    return sum;
}

static double read_values(size_t len)
{
    weir_json_reader reader;
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    double sum = 0;
    double value = 0;
    if (weir_json_open(&reader, hidden(order), len, NULL) != WEIR_OK)
        abort();
    do {
        if (weir_json_next(&reader, &token) != WEIR_OK)
            abort();
        if (token.kind == WEIR_JSON_NUMBER) {
            if (weir_json_double(&token, &value) != WEIR_OK)
                abort();
            sum += value;
        }
        if (token.kind == WEIR_JSON_KEY)
            sum += weir_json_equals(&token, "amount") ? 1 : 0;
    } while (token.kind != WEIR_JSON_END);
    return sum;
}

static void write_item(weir_json_writer *writer, const char *sku, int64_t qty, double price)
{
    weir_json_write_object(writer);
    weir_json_write_key(writer, "sku");
    weir_json_write_string(writer, sku);
    weir_json_write_key(writer, "qty");
    weir_json_write_int64(writer, qty);
    weir_json_write_key(writer, "price");
    weir_json_write_double(writer, price);
    weir_json_write_object_end(writer);
}

static double write_order(size_t len)
{
    char buf[512];
    weir_json_writer writer;
    size_t written = 0;
    weir_json_write_begin(&writer, buf, sizeof(buf));
    weir_json_write_object(&writer);
    weir_json_write_key(&writer, "id");
    weir_json_write_string(&writer, "A-1");
    weir_json_write_key(&writer, "amount");
    weir_json_write_double(&writer, 12.5);
    weir_json_write_key(&writer, "currency");
    weir_json_write_string(&writer, "EUR");
    weir_json_write_key(&writer, "items");
    weir_json_write_array(&writer);
    write_item(&writer, "x-0001", 1, 12.5);
    write_item(&writer, "y-0001", 2, 3.25);
    write_item(&writer, "z-0022", 10, 0.99);
    write_item(&writer, "w-00333", 3, 7.5);
    weir_json_write_array_end(&writer);
    weir_json_write_object_end(&writer);
    if (weir_json_write_end(&writer, &written) != WEIR_OK || written != len)
        abort();
    return (double)hidden(buf)[len / 2];
}

#if defined(WEIR_BENCH_JANSSON)
static double read_jansson(size_t len)
{
    json_t *root = json_loadb(hidden(order), len, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        abort();
    double sum = (double)json_object_size(root);
    json_decref(root);
    return sum;
}
#endif

/* The median of 9 rounds. */
static void measure(const char *name, double (*run)(size_t), size_t len, int count)
{
    double rounds[9];
    volatile double sink = 0;
    for (int r = 0; r < 9; r++) {
        double start = seconds();
        for (int i = 0; i < count; i++)
            sink = sink + run(len);
        double took = (seconds() - start) / count;
        int at = r;
        for (; at > 0 && rounds[at - 1] > took; at--)
            rounds[at] = rounds[at - 1];
        rounds[at] = took;
    }
    printf("%-28s %8.1f ns   (best %.1f)\n", name, rounds[4] * 1e9, rounds[0] * 1e9);
}

int main(void)
{
    size_t len = strlen(order);
    printf("%zu bytes\n", len);
    measure("weir, all tokens", read_tokens, len, 100000);
    measure("weir, keys and doubles too", read_values, len, 100000);
    measure("weir, writing", write_order, len, 100000);
#if defined(WEIR_BENCH_JANSSON)
    measure("jansson, tree", read_jansson, len, 20000);
#endif
    return 0;
}

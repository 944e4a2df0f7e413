/* Decodes an order from JSON, strictly, in one pass, and says what is wrong with it. */
#include "order.h"

#include <weir/json.h>

#include <stdio.h>
#include <string.h>

typedef struct decoder {
    weir_json_reader reader;
    order *order;
    order_fault *fault;
    const char *field; /* what is being read */
    const char *member;
    uint32_t index; /* in items, while `member` is set */
    bool has_id, has_amount, has_currency;
} decoder;

static void name_field(const decoder *d, char field[ORDER_FIELD_BYTES])
{
    if (d->member == NULL)
        snprintf(field, ORDER_FIELD_BYTES, "%s", d->field);
    else
        snprintf(field, ORDER_FIELD_BYTES, "items[%u]%s%s", d->index, *d->member ? "." : "",
                 d->member);
}

/* Notes the first thing that is wrong with the order; reading goes on, to see if it is JSON. */
static void complain(decoder *d, const char *why)
{
    if (d->fault->status != 0)
        return;
    d->fault->status = 422;
    d->fault->why = why;
    name_field(d, d->fault->field);
}

/* JSON that RFC 8259 leaves to the reader's judgement, and numbers that JSON has no words for. */
static bool is_json_but_refused(weir_json_reason reason)
{
    switch (reason) {
    case WEIR_JSON_REASON_NOT_FINITE:
    case WEIR_JSON_REASON_DUPLICATE:
    case WEIR_JSON_REASON_DEPTH:
    case WEIR_JSON_REASON_KEYS:
    case WEIR_JSON_REASON_STRING_BYTES:
    case WEIR_JSON_REASON_NUMBER_BYTES:
    case WEIR_JSON_REASON_SURROGATE:
    case WEIR_JSON_REASON_UTF8:
        return true;
    default:
        return false;
    }
}

/* The reader stands on the second of two keys, which `field` does not name yet. */
static void name_duplicate(decoder *d)
{
    static const char *const names[] = { "id", "amount", "currency", "items" };
    const weir_json_reader *r = &d->reader;
    const char *at = (const char *)r->text + r->offset;
    size_t left = (size_t)((const char *)r->end - at);
    if (d->member != NULL)
        return;
    d->field = "body";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t bytes = strlen(names[i]);
        if (left > bytes + 1 && at[0] == '"' && memcmp(at + 1, names[i], bytes) == 0 &&
            at[bytes + 1] == '"')
            d->field = names[i];
    }
}

/* The reader has refused the text. */
static bool refuse(decoder *d)
{
    const weir_json_reader *r = &d->reader;
    bool is_json = is_json_but_refused(r->reason);
    if (is_json && d->fault->status != 0)
        return false;
    if (r->reason == WEIR_JSON_REASON_DUPLICATE)
        name_duplicate(d);
    d->fault->status = is_json ? 422 : 400;
    d->fault->why = r->error;
    d->fault->offset = r->offset;
    name_field(d, d->fault->field);
    return false;
}

/* Reads a value of `kind`; another kind is complained about and passed over. False: the text is
 * refused. */
static bool read_value(decoder *d, weir_json_kind kind, const char *why, weir_json_token *ret_value,
                       bool *ret_found)
{
    if (weir_json_next(&d->reader, ret_value) != WEIR_OK)
        return refuse(d);
    *ret_found = ret_value->kind == kind;
    if (*ret_found)
        return true;
    complain(d, why);
    if (ret_value->kind != WEIR_JSON_BEGIN_OBJECT && ret_value->kind != WEIR_JSON_BEGIN_ARRAY)
        return true;
    return weir_json_leave(&d->reader) == WEIR_OK || refuse(d);
}

bool order_id_is_fine(const char *id, size_t bytes)
{
    if (bytes == 0 || bytes > ORDER_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)id[i] < 0x20 || id[i] == 0x7f)
            return false;
    return true;
}

static bool read_id(decoder *d)
{
    weir_json_token value;
    bool found;
    size_t bytes = 0;
    if (!read_value(d, WEIR_JSON_STRING, "must be a string", &value, &found))
        return false;
    if (!found)
        return true;
    if (weir_json_unescape(&value, d->order->id, sizeof d->order->id, &bytes) != WEIR_OK)
        complain(d, "must have at most 128 bytes");
    else if (bytes == 0)
        complain(d, "must not be empty");
    else if (!order_id_is_fine(d->order->id, bytes))
        complain(d, "must not hold control characters");
    d->order->id_bytes = (uint16_t)bytes;
    return true;
}

static bool read_amount(decoder *d)
{
    weir_json_token value;
    bool found;
    if (!read_value(d, WEIR_JSON_NUMBER, "must be a number", &value, &found))
        return false;
    if (!found)
        return true;
    if (weir_json_double(&value, &d->order->amount) != WEIR_OK)
        complain(d, "is too large a number");
    else if (!(d->order->amount > 0))
        complain(d, "must be above 0");
    return true;
}

static bool read_currency(decoder *d)
{
    weir_json_token value;
    bool found;
    if (!read_value(d, WEIR_JSON_STRING, "must be a string", &value, &found))
        return false;
    if (!found)
        return true;
    size_t bytes = 0;
    char *code = d->order->currency;
    if (weir_json_unescape(&value, code, sizeof d->order->currency, &bytes) != WEIR_OK)
        bytes = 0;
    bool fine = bytes == 3;
    for (size_t i = 0; i < bytes; i++)
        fine = fine && code[i] >= 'A' && code[i] <= 'Z';
    if (!fine)
        complain(d, "must be three capital letters, as ISO 4217 has them");
    return true;
}

/* ---- Items ---- */

static bool read_sku(decoder *d)
{
    weir_json_token value;
    bool found;
    if (!read_value(d, WEIR_JSON_STRING, "must be a string", &value, &found))
        return false;
    if (found && (value.len == 0 || value.len > ORDER_SKU_BYTES_MAX))
        complain(d, "must have 1 to 64 bytes");
    return true;
}

static bool read_qty(decoder *d)
{
    weir_json_token value;
    bool found;
    int64_t qty = 0;
    if (!read_value(d, WEIR_JSON_NUMBER, "must be a whole number", &value, &found))
        return false;
    if (!found)
        return true;
    weir_status status = weir_json_int64(&value, &qty);
    if (status != WEIR_OK)
        complain(d, status == WEIR_EINVAL ? "must be a whole number" : "is too large a number");
    else if (qty < 1)
        complain(d, "must be at least 1");
    return true;
}

static bool read_price(decoder *d)
{
    weir_json_token value;
    bool found;
    double price = 0;
    if (!read_value(d, WEIR_JSON_NUMBER, "must be a number", &value, &found))
        return false;
    if (found && weir_json_double(&value, &price) != WEIR_OK)
        complain(d, "is too large a number");
    else if (found && price < 0)
        complain(d, "must not be below 0");
    return true;
}

/* The members of one object of the array, up to its end. */
static bool read_item(decoder *d)
{
    bool has_sku = false, has_qty = false;
    for (weir_json_token key;;) {
        d->member = "";
        if (weir_json_next(&d->reader, &key) != WEIR_OK)
            return refuse(d);
        if (key.kind == WEIR_JSON_END_OBJECT)
            break;
        bool ok;
        if (weir_json_equals(&key, "sku")) {
            has_sku = true;
            d->member = "sku";
            ok = read_sku(d);
        } else if (weir_json_equals(&key, "qty")) {
            has_qty = true;
            d->member = "qty";
            ok = read_qty(d);
        } else if (weir_json_equals(&key, "price")) {
            d->member = "price";
            ok = read_price(d);
        } else {
            ok = weir_json_skip(&d->reader) == WEIR_OK || refuse(d);
        }
        if (!ok)
            return false;
    }
    d->member = has_sku ? "qty" : "sku";
    if (!has_sku || !has_qty)
        complain(d, "is missing");
    return true;
}

static bool read_items(decoder *d)
{
    weir_json_token value;
    bool found;
    if (!read_value(d, WEIR_JSON_BEGIN_ARRAY, "must be an array", &value, &found))
        return false;
    if (!found)
        return true;
    const char *begin = value.text;
    for (d->index = 0;; d->index++) {
        d->member = "";
        if (weir_json_next(&d->reader, &value) != WEIR_OK)
            return refuse(d);
        if (value.kind == WEIR_JSON_END_ARRAY)
            break;
        bool ok = true;
        if (d->index == ORDER_ITEMS_MAX)
            complain(d, "is one too many: at most 256 are taken");
        if (value.kind == WEIR_JSON_BEGIN_OBJECT) {
            ok = read_item(d);
        } else {
            complain(d, "must be an object");
            if (value.kind == WEIR_JSON_BEGIN_ARRAY)
                ok = weir_json_leave(&d->reader) == WEIR_OK || refuse(d);
        }
        if (!ok)
            return false;
    }
    d->member = NULL;
    d->order->items = begin;
    d->order->items_bytes = (uint32_t)(value.text + value.len - begin);
    return true;
}

/* ---- The order ---- */

static bool read_member(decoder *d, const weir_json_token *key)
{
    if (weir_json_equals(key, "id")) {
        d->field = "id";
        d->has_id = true;
        return read_id(d);
    }
    if (weir_json_equals(key, "amount")) {
        d->field = "amount";
        d->has_amount = true;
        return read_amount(d);
    }
    if (weir_json_equals(key, "currency")) {
        d->field = "currency";
        d->has_currency = true;
        return read_currency(d);
    }
    if (weir_json_equals(key, "items")) {
        d->field = "items";
        return read_items(d);
    }
    d->field = "body";
    return weir_json_skip(&d->reader) == WEIR_OK || refuse(d);
}

static bool read_order(decoder *d)
{
    weir_json_token token;
    bool found;
    if (!read_value(d, WEIR_JSON_BEGIN_OBJECT, "must be an object", &token, &found))
        return false;
    for (;;) {
        if (weir_json_next(&d->reader, &token) != WEIR_OK)
            return refuse(d);
        if (token.kind == WEIR_JSON_END)
            break;
        if (token.kind == WEIR_JSON_KEY && !read_member(d, &token))
            return false;
        d->field = "body";
    }
    d->field = !d->has_id ? "id" : !d->has_amount ? "amount" : "currency";
    if (!d->has_id || !d->has_amount || !d->has_currency)
        complain(d, "is missing");
    return d->fault->status == 0;
}

bool order_decode(const char *text, size_t bytes, order *ret_order, order_fault *ret_fault)
{
    static const weir_json_limits limits = { .depth_max = ORDER_DEPTH_MAX };
    decoder d; /* not cleared: the reader is large, and clears what it needs */
    d.order = ret_order;
    d.fault = ret_fault;
    d.field = "body";
    d.member = NULL;
    d.index = 0;
    d.has_id = d.has_amount = d.has_currency = false;
    ret_order->items = NULL;
    ret_order->items_bytes = 0;
    ret_fault->status = 0;
    ret_fault->offset = 0;
    if (weir_json_open(&d.reader, text, bytes, &limits) != WEIR_OK)
        return refuse(&d);
    return read_order(&d);
}

/* An order as the service knows it: decoded and checked from the JSON of a request. */
#ifndef ORDERS_ORDER_H
#define ORDERS_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ORDER_ID_BYTES_MAX = 128,
    ORDER_SKU_BYTES_MAX = 64,
    ORDER_ITEMS_MAX = 256,
    ORDER_DEPTH_MAX = 32,
    ORDER_FIELD_BYTES = 32
};

typedef struct order {
    double amount;
    const char *items; /* the array as it was sent, within the request's body; NULL: none */
    uint32_t items_bytes;
    uint16_t id_bytes;
    char currency[4];
    char id[ORDER_ID_BYTES_MAX + 1];
} order;

/* Why a request is refused. */
typedef struct order_fault {
    unsigned status;               /* 400: not JSON; 422: JSON, but no order */
    char field[ORDER_FIELD_BYTES]; /* "amount", "items[3].qty"; "body": all of it */
    const char *why;               /* static text */
    size_t offset;                 /* where, in bytes from 0; of status 400 */
} order_fault;

/* Decodes `text`, which `ret_order` borrows. False: not an order, and `ret_fault` says why; what
 * cannot be JSON is said before what cannot be an order. Allocates nothing. */
bool order_decode(const char *text, size_t bytes, order *ret_order, order_fault *ret_fault);

/* Whether `id` may be an order's: 1 to ORDER_ID_BYTES_MAX bytes without control characters. Its
 * UTF-8 is not looked at. */
bool order_id_is_fine(const char *id, size_t bytes);

#endif

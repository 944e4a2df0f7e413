/* Keys of maps that occur twice: in a table of the arena's, since a map may have any number. */
#include "protobuf_json_internal.h"

#include "json_text.h"

#include <string.h>

#define FEW 8

static bool is_same(const ProtobufCFieldDescriptor *key, const ProtobufCMessage *a,
                    const ProtobufCMessage *b)
{
    const void *left = wi_pbj_member(a, key), *right = wi_pbj_member(b, key);
    if (key->type == PROTOBUF_C_TYPE_STRING)
        return strcmp(*(char *const *)left, *(char *const *)right) == 0;
    return memcmp(left, right, wi_pbj_member_bytes(key->type)) == 0;
}

static uint32_t hash_of(const ProtobufCFieldDescriptor *key, const ProtobufCMessage *entry,
                        uint64_t seed)
{
    const char *at = wi_pbj_member(entry, key);
    size_t n = wi_pbj_member_bytes(key->type), len;
    uint64_t hash = seed, word;
    if (key->type == PROTOBUF_C_TYPE_STRING) {
        at = *(char *const *)(const void *)at;
        n = strlen(at);
    }
    for (len = n; n > 0; at += 8, n -= 8) {
        word = 0;
        memcpy(&word, at, n < 8 ? n : 8);
        hash = wi_json_hash_word(hash, word);
        if (n <= 8)
            break;
    }
    return wi_json_hash_end(hash, len);
}

static bool is_twice_among_few(const ProtobufCFieldDescriptor *key,
                               ProtobufCMessage *const *entries, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (is_same(key, entries[i], entries[j]))
                return true;
        }
    }
    return false;
}

/* Steps in all are limited: keys that were made to meet in the table cost no more than others. */
static weir_status check_many(wi_pbj_source *source, const ProtobufCFieldDescriptor *key,
                              ProtobufCMessage *const *entries, size_t n)
{
    weir_status status = WEIR_OK;
    size_t slots = 4 * FEW, steps = 16 * n;
    while (slots < 2 * n)
        slots *= 2;
    uint32_t *table = wi_pbj_take(source, slots * sizeof *table, &status);
    if (table == NULL)
        return status;
    memset(table, 0, slots * sizeof *table);
    for (size_t i = 0; i < n; i++) {
        size_t at = hash_of(key, entries[i], source->json.seed) & (slots - 1);
        for (; table[at] != 0; at = (at + 1) & (slots - 1)) {
            if (is_same(key, entries[table[at] - 1], entries[i]))
                return wi_pbj_refuse(source, WEIR_EPROTO, "a map has a key twice");
            if (steps-- == 0)
                return wi_pbj_refuse(source, WEIR_ELIMIT, "a map's keys are made to be slow");
        }
        table[at] = (uint32_t)i + 1;
    }
    return WEIR_OK;
}

weir_status wi_pbj_check_keys(wi_pbj_source *source, const ProtobufCFieldDescriptor *key,
                              ProtobufCMessage *const *entries, size_t n)
{
    if (n > FEW)
        return check_many(source, key, entries, n);
    return is_twice_among_few(key, entries, n)
               ? wi_pbj_refuse(source, WEIR_EPROTO, "a map has a key twice")
               : WEIR_OK;
}

/* What reader and writer share about numbers; private to proto. */
#ifndef WI_JSON_NUMBER_H
#define WI_JSON_NUMBER_H

#include <weir/json.h>

/* Converts a number of the JSON grammar. WEIR_ELIMIT: it overflows. */
WEIR_MUST_USE weir_status wi_json_to_double(const char *text, size_t len, double *ret_value);

#define WI_JSON_DOUBLE_BYTES 32

/* Writes a finite double, as short as reads back the same; gives the length. */
size_t wi_json_from_double(double value, char out[WI_JSON_DOUBLE_BYTES]);
/* The same of a float, whose digits are fewer: up to 9. */
size_t wi_json_from_float(float value, char out[WI_JSON_DOUBLE_BYTES]);

#endif

/* What a dead letter tells of its failure. */
#ifndef WI_FAILURE_H
#define WI_FAILURE_H

#include <weir/stages_limit.h>

/* Of an item that came by the dead-letter edge `in`. */
weir_failure wi_failure_of(const weir_item *item, const weir_in *in);

#endif

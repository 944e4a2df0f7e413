/* What runs beside the orders, on a loop and a thread of its own: the built-in pricing service, the
 * admin listener, and the watch on the store. */
#ifndef ORDERS_OPS_H
#define ORDERS_OPS_H

#include "service.h"

typedef struct ops ops;

/* Starts the pricing service, if it is the built-in one, and sets service.pricing_url. False: it
 * could not, and a line on stderr says why. */
bool ops_new(service *s, ops **ret_ops);
/* Adds the admin listener and the watch on the store, and starts the thread. Once
 * service.pipeline is wired. */
bool ops_start(ops *o);
/* The admin's port; 0: it has none. */
uint16_t ops_admin_port(const ops *o);
/* Takes it. After the orders' pipeline has ended. NULL is fine. */
void ops_free(ops *o);

#endif

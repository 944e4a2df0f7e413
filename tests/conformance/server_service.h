/* The service of the conformance tests: it does what requests tell it to, and echoes them. */
#ifndef CONFORMANCE_SERVER_SERVICE_H
#define CONFORMANCE_SERVER_SERVICE_H

#include "common.h"

const weir_rpc_service *server_service(void);

#endif

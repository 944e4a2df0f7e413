/* One test of the client: a call as it is asked for, and what came of it. */
#ifndef CONFORMANCE_CLIENT_TEST_H
#define CONFORMANCE_CLIENT_TEST_H

#include "client_channels.h"

/* Runs the test that `request` is; takes `arena`, in which it lies, and which goes when `done` has
 * been told, with the answer. It may be told beneath this. */
typedef void test_done(const Connectrpc__Conformance__V1__ClientCompatResponse *response,
                       weir_arena *arena, void *user);
void test_run(channels *all, const compat_request *request, const weir_arena *arena,
              test_done *done, void *user);

#endif

/* Packs and unpacks a message of its own .proto, and looks at its service's table. */
#include <outside/v1/outside.weir.h>
#include <weir/version.h>

#include <grpc/health/v1/health.weir.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    Outside__V1__Sum sum = OUTSIDE__V1__SUM__INIT;
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    uint8_t bytes[64];
    sum.status = &status;
    sum._of_case = OUTSIDE__V1__SUM___OF_OF;
    for (int i = 0; i < 1000; i++) {
        sum.of += i;
    }
    size_t n = outside__v1__sum__pack(&sum, bytes);
    Outside__V1__Sum *read = outside__v1__sum__unpack(NULL, n, bytes);
    if (read == NULL || read->_of_case != OUTSIDE__V1__SUM___OF_OF ||
        strcmp(outside_v1_sums_service.methods[0].path, "/outside.v1.Sums/Add") != 0 ||
        strcmp(outside_v1_outside_proto_file.imports[0]->name, "google/rpc/status.proto") != 0 ||
        grpc_health_v1_health_service.method_count != 3) {
        return 1;
    }
    printf("weir %s: %lld\n", weir_version(), (long long)read->of);
    outside__v1__sum__free_unpacked(read, NULL);
    return 0;
}

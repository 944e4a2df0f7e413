/* What grpc_load is asked to do, and the request that it sends again and again. */
#ifndef LOAD_GRPC_OPTIONS_H
#define LOAD_GRPC_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum grpc_method { METHOD_UNARY, METHOD_STREAM, METHOD_ECHO } grpc_method;

typedef struct grpc_options {
    struct sockaddr_in address;
    char authority[256];
    grpc_method method;
    uint32_t connections;
    uint32_t streams; /* calls at once on each connection */
    uint32_t message_bytes;
    uint64_t count; /* messages of a call of `stream` */
    uint32_t in_flight;
    uint32_t idle_connections;
    uint32_t idle_streams;
    double seconds;
    double warmup_s;
    pid_t server_pid;
} grpc_options;

/* Prints what is wrong and exits with 2 if it is. */
void grpc_options_read(grpc_options *o, int argc, char **argv);

enum { REQUEST_FIELDS_MAX = 1024 };

typedef struct grpc_request {
    uint8_t fields_first[REQUEST_FIELDS_MAX]; /* puts the fields into the header table */
    size_t fields_first_bytes;
    uint8_t fields_again[16]; /* their indexes */
    size_t fields_again_bytes;
    uint32_t table_bytes; /* that they need of the table */
    uint8_t *message;     /* with its prefix */
    size_t message_bytes;
    size_t payload_bytes; /* that each message of StreamData has to have */
    bool ends;            /* the first message is the last one */
    uint32_t messages_first;
} grpc_request;

void grpc_request_make(grpc_request *r, const grpc_options *o);

#endif

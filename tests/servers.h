/* Real servers as children of a test: temporary directories, free ports, start, kill, restart. */
#ifndef WEIR_TEST_SERVERS_H
#define WEIR_TEST_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_PATH_MAX 256

/* A TCP port of 127.0.0.1 that was free just now; 0 if there is none. */
uint16_t server_free_port(void);
/* Makes a directory below $TMPDIR or /tmp that any user may enter. */
bool server_dir_new(char ret_dir[SERVER_PATH_MAX]);
/* Removes it with all in it. */
void server_dir_remove(const char *dir);

/* Milliseconds of a clock that only goes forward, and a pause of a few of them: for waits that have
 * nothing to wait on. */
uint64_t server_now_ms(void);
void server_nap(void);
/* Descriptors that are open, one of its own included. */
int server_count_fds(void);
/* The file's text, as much of it as fits; "" if there is no file. */
void server_read_text(const char *path, char *ret_text, size_t cap);

/* Starts argv[0] with its output in the file `log` (NULL: nowhere). It dies with the test. As root,
 * it runs as `user` if that is not NULL. Gives the process id, or -1. */
pid_t server_spawn(char *const argv[], const char *user, const char *log);
/* Sends the signal and waits for the end. */
void server_kill(pid_t pid, int signal);
/* Says, without waiting, whether the child still runs; reaps it if not. */
bool server_is_running(pid_t pid);
/* Waits for the child's end by itself: its exit code, 128 and the signal's number, or -1, and it is
 * killed, if there is none in time. */
int server_wait_exit(pid_t pid, uint32_t timeout_ms);
/* Waits until something listens on the port of 127.0.0.1. */
bool server_wait_port(uint16_t port, uint32_t timeout_ms);
/* A connection to the port of 127.0.0.1 on which receiving gives up after so many seconds, or -1.
 */
int server_dial(uint16_t port, uint32_t patience_s);
/* Sends all, or what the other side takes: if it is refused early, the answer says why. */
void server_send_all(int fd, const void *bytes, size_t n);
/* The first of the paths that can be executed, or NULL. */
const char *server_find(const char *const paths[], size_t n);

typedef struct server_postgres {
    pid_t pid;
    uint16_t port;
    char dir[SERVER_PATH_MAX]; /* with data/, log and the socket */
    char url[SERVER_PATH_MAX]; /* for libpq, by TCP */
} server_postgres;

/* A fresh cluster on a free port, ready for connections. False, with a line on stdout that says
 * why, if there is no server here: then skip. */
bool server_postgres_start(server_postgres *server);
/* SIGKILL for the server's first process and its children, as a crash. */
void server_postgres_crash(server_postgres *server);
/* Stops all of its processes where they are, or lets them go on. */
void server_postgres_freeze(const server_postgres *server, bool freeze);
/* Starts it again, without waiting for it to be ready. It may have to be called again (see
 * server_is_running) while processes of a crashed one are still there. */
void server_postgres_spawn(server_postgres *server);
bool server_postgres_is_ready(const server_postgres *server);
/* Runs SQL by psql and copies its unaligned output, without the last newline. */
bool server_postgres_ask(const server_postgres *server, const char *sql, char *ret_text,
                         size_t cap);
/* Stops it and removes its directory. */
void server_postgres_stop(server_postgres *server);

typedef struct server_nats {
    pid_t pid;
    uint16_t port;
    char dir[SERVER_PATH_MAX];
    char url[SERVER_PATH_MAX];
    bool jetstream;
} server_nats;

/* As above, for nats-server; `jetstream` switches that on. */
bool server_nats_start(server_nats *server, bool jetstream);
void server_nats_crash(server_nats *server);
/* Starts it again on the same port; false if it does not listen in time. */
bool server_nats_restart(server_nats *server);
void server_nats_stop(server_nats *server);

#endif

/* Real servers as children of a test: temporary directories, free ports, start, kill, restart. */
#include "servers.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t server_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void server_nap(void)
{
    (void)poll(NULL, 0, 5);
}

void server_read_text(const char *path, char *ret_text, size_t cap)
{
    ret_text[0] = '\0';
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    ret_text[fread(ret_text, 1, cap - 1, file)] = '\0';
    fclose(file);
}

/* ---- Ports and directories ---- */

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

uint16_t server_free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

int server_count_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

int server_dial(uint16_t port, uint32_t patience_s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    struct timeval limit = { .tv_sec = patience_s };
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

void server_send_all(int fd, const void *bytes, size_t n)
{
    for (const char *at = bytes; n != 0;) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += sent;
        n -= (size_t)sent;
    }
}

bool server_wait_port(uint16_t port, uint32_t timeout_ms)
{
    uint64_t end = server_now_ms() + timeout_ms;
    int fd;
    while ((fd = server_dial(port, 1)) < 0) {
        if (server_now_ms() >= end)
            return false;
        server_nap();
    }
    close(fd);
    return true;
}

bool server_dir_new(char ret_dir[SERVER_PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(ret_dir, SERVER_PATH_MAX, "%s/weir-test-XXXXXX", base == NULL ? "/tmp" : base);
    return mkdtemp(ret_dir) != NULL && chmod(ret_dir, 0755) == 0;
}

static int remove_entry(const char *path, const struct stat *is, int kind, struct FTW *where)
{
    (void)is;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

void server_dir_remove(const char *dir)
{
    if (dir[0] != '\0')
        (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- Processes ---- */

static void become(const char *user)
{
    const struct passwd *who = geteuid() == 0 && user != NULL ? getpwnam(user) : NULL;
    if (who == NULL)
        return;
    if (setgroups(0, NULL) != 0 || setgid(who->pw_gid) != 0 || setuid(who->pw_uid) != 0)
        _exit(126);
}

pid_t server_spawn(char *const argv[], const char *user, const char *log)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int out = open(log == NULL ? "/dev/null" : log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    for (int fd = 3; fd < 1024; fd++)
        (void)close(fd);
    become(user);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setuid, which clears it */
    execv(argv[0], argv);
    _exit(127);
}

void server_kill(pid_t pid, int signal)
{
    if (pid <= 0)
        return;
    (void)kill(pid, signal);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int server_wait_exit(pid_t pid, uint32_t timeout_ms)
{
    int status = 0;
    for (uint64_t end = server_now_ms() + timeout_ms; server_now_ms() < end; server_nap())
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    server_kill(pid, SIGKILL);
    return -1;
}

bool server_is_running(pid_t pid)
{
    return pid > 0 && waitpid(pid, NULL, WNOHANG) == 0;
}

static bool run(char *const argv[], const char *user, const char *log)
{
    pid_t pid = server_spawn(argv, user, log);
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *server_find(const char *const paths[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return NULL;
}

/* ---- PostgreSQL ---- */

static const char *postgres_bin(void)
{
    static const char *const dirs[] = { "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin",
                                        "/usr/lib/postgresql/17/bin", "/usr/local/pgsql/bin" };
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        char path[SERVER_PATH_MAX];
        (void)snprintf(path, sizeof path, "%s/postgres", dirs[i]);
        if (access(path, X_OK) == 0)
            return dirs[i];
    }
    return NULL;
}

/* The server refuses to run as root. */
static const char *postgres_user(void)
{
    return getpwnam("postgres") != NULL ? "postgres" : "nobody";
}

static bool make_cluster(const server_postgres *server, const char *bin)
{
    char initdb[SERVER_PATH_MAX], data[SERVER_PATH_MAX + 8], log[SERVER_PATH_MAX + 8];
    (void)snprintf(initdb, sizeof initdb, "%s/initdb", bin);
    (void)snprintf(data, sizeof data, "%s/data", server->dir);
    (void)snprintf(log, sizeof log, "%s/log", server->dir);
    const struct passwd *who = geteuid() == 0 ? getpwnam(postgres_user()) : NULL;
    if (who != NULL && chown(server->dir, who->pw_uid, who->pw_gid) != 0)
        return false;
    char *argv[] = { initdb,  "-D",        data, "-U",   "postgres",   "-A",
                     "trust", "--no-sync", "-E", "UTF8", "--locale=C", NULL };
    return run(argv, postgres_user(), log);
}

void server_postgres_spawn(server_postgres *server)
{
    char postgres[SERVER_PATH_MAX], data[SERVER_PATH_MAX + 8], log[SERVER_PATH_MAX + 8], port[8];
    (void)snprintf(postgres, sizeof postgres, "%s/postgres", postgres_bin());
    (void)snprintf(data, sizeof data, "%s/data", server->dir);
    (void)snprintf(log, sizeof log, "%s/log", server->dir);
    (void)snprintf(port, sizeof port, "%u", server->port);
    char *argv[] = { postgres, "-D", data, "-p", port, "-k", server->dir, "-h", "127.0.0.1", NULL };
    server->pid = server_spawn(argv, postgres_user(), log);
}

bool server_postgres_is_ready(const server_postgres *server)
{
    char text[16];
    return server_wait_port(server->port, 0) &&
           server_postgres_ask(server, "SELECT 1", text, sizeof text);
}

bool server_postgres_start(server_postgres *server)
{
    *server = (server_postgres){ .pid = -1 };
    const char *bin = postgres_bin();
    if (bin == NULL) {
        printf("skipped: no PostgreSQL server here (Debian: postgresql)\n");
        return false;
    }
    if (!server_dir_new(server->dir) || !make_cluster(server, bin)) {
        printf("skipped: initdb failed (see %s/log)\n", server->dir);
        return false;
    }
    server->port = server_free_port();
    (void)snprintf(server->url, sizeof server->url, "postgresql://postgres@127.0.0.1:%u/postgres",
                   server->port);
    server_postgres_spawn(server);
    for (uint64_t end = server_now_ms() + 20000; server_now_ms() < end; server_nap()) {
        if (server_postgres_is_ready(server))
            return true;
        if (!server_is_running(server->pid))
            break;
    }
    printf("skipped: PostgreSQL did not start (see %s/log)\n", server->dir);
    return false;
}

/* Its children would end by themselves, but only once they have nothing to do. */
static size_t children_of(pid_t pid, pid_t *ret_children, size_t cap)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *list = fopen(path, "r");
    size_t n = 0;
    int child;
    while (list != NULL && n < cap && fscanf(list, "%d", &child) == 1)
        ret_children[n++] = child;
    if (list != NULL)
        (void)fclose(list);
    return n;
}

void server_postgres_freeze(const server_postgres *server, bool freeze)
{
    pid_t children[64];
    size_t n = children_of(server->pid, children, 64);
    (void)kill(server->pid, freeze ? SIGSTOP : SIGCONT);
    for (size_t i = 0; i < n; i++)
        (void)kill(children[i], freeze ? SIGSTOP : SIGCONT);
}

void server_postgres_crash(server_postgres *server)
{
    pid_t children[64];
    size_t n = children_of(server->pid, children, 64);
    server_kill(server->pid, SIGKILL);
    for (size_t i = 0; i < n; i++)
        (void)kill(children[i], SIGKILL);
    server->pid = -1;
}

bool server_postgres_ask(const server_postgres *server, const char *sql, char *ret_text, size_t cap)
{
    char command[1024];
    (void)snprintf(command, sizeof command, "%s/psql -X -q -t -A -v ON_ERROR_STOP=1 -c \"%s\" '%s'",
                   postgres_bin(), sql, server->url);
    (void)strcat(command, " 2>/dev/null");
    FILE *psql = popen(command, "r");
    if (psql == NULL)
        return false;
    size_t n = fread(ret_text, 1, cap - 1, psql);
    ret_text[n] = '\0';
    if (n > 0 && ret_text[n - 1] == '\n')
        ret_text[n - 1] = '\0';
    return pclose(psql) == 0;
}

void server_postgres_stop(server_postgres *server)
{
    server_kill(server->pid, SIGINT); /* fast shutdown */
    server->pid = -1;
    server_dir_remove(server->dir);
}

/* ---- NATS ---- */

static const char *nats_bin(void)
{
    static const char *const paths[] = { "/usr/sbin/nats-server", "/usr/bin/nats-server",
                                         "/usr/local/bin/nats-server" };
    return server_find(paths, sizeof paths / sizeof *paths);
}

bool server_nats_restart(server_nats *server)
{
    char bin[SERVER_PATH_MAX], port[8], log[SERVER_PATH_MAX + 8];
    (void)snprintf(bin, sizeof bin, "%s", nats_bin());
    (void)snprintf(port, sizeof port, "%u", server->port);
    (void)snprintf(log, sizeof log, "%s/log", server->dir);
    char *argv[] = { bin, "-a", "127.0.0.1", "-p", port, "-sd", server->dir, NULL, NULL };
    if (server->jetstream)
        argv[7] = "-js";
    server->pid = server_spawn(argv, NULL, log);
    return server_wait_port(server->port, 10000);
}

bool server_nats_start(server_nats *server, bool jetstream)
{
    *server = (server_nats){ .pid = -1, .jetstream = jetstream };
    if (nats_bin() == NULL) {
        printf("skipped: no nats-server here (Debian: nats-server)\n");
        return false;
    }
    if (!server_dir_new(server->dir))
        return false;
    server->port = server_free_port();
    (void)snprintf(server->url, sizeof server->url, "nats://127.0.0.1:%u", server->port);
    if (server_nats_restart(server))
        return true;
    printf("skipped: nats-server did not start (see %s/log)\n", server->dir);
    server_kill(server->pid, SIGKILL);
    return false;
}

void server_nats_crash(server_nats *server)
{
    server_kill(server->pid, SIGKILL);
    server->pid = -1;
}

void server_nats_stop(server_nats *server)
{
    server_kill(server->pid, SIGTERM);
    server->pid = -1;
    server_dir_remove(server->dir);
}

/* Compares protobuf's JSON with Google's Python library (protobuf_json_oracle.py) on random
 * messages, both ways. Skipped where there is no Python or no google.protobuf. */
#include "servers.h"

#include "protobuf_json_rig.h"

#include <weir/protobuf.h>

#include <unistd.h>

#ifndef ORACLE_PYTHON
#define ORACLE_PYTHON ""
#define ORACLE_PROTOC ""
#define ORACLE_TREE   ""
#endif

#define MESSAGES 300

static bool run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool run(const char *format, ...)
{
    char command[4096];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(command, sizeof command, format, list);
    va_end(list);
    assert_true(n > 0 && (size_t)n < sizeof command);
    return system(command) == 0;
}

static const char *seed(void)
{
    const char *given = getenv("WEIR_TEST_SEED");
    return given != NULL ? given : "1";
}

static size_t from_hex(char *hex)
{
    size_t n = 0;
    for (unsigned byte; hex[2 * n] != '-' && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
        hex[n] = (char)byte;
    return n;
}

/* The message that Google has packed, as our JSON. */
static void write_ours(FILE *out, rig *r, const ProtobufCMessageDescriptor *type, char *hex)
{
    ProtobufCMessage *message;
    size_t n = from_hex(hex);
    if (weir_protobuf_unpack(type, hex, n, NULL, &r->arena, &message, &r->why) != WEIR_OK)
        fail_msg("not unpacked: %s", r->why);
    if (rig_write(r, message, &rig_strict) != WEIR_OK)
        fail_msg("not written: %s", r->why);
    fprintf(out, "%s\n", r->text.at);
}

/* Google's JSON, as the message that we read. */
static void read_theirs(FILE *out, rig *r, const ProtobufCMessageDescriptor *type, const char *text)
{
    ProtobufCMessage *message;
    if (rig_read_n(r, type, text, strlen(text), &rig_strict, &message) != WEIR_OK)
        fail_msg("not read: %s: %s", r->why, text);
    size_t n = weir_protobuf_size(message);
    unsigned char *packed = weir_arena_take(&r->arena, n);
    assert_int_equal(weir_protobuf_pack(message, packed, n, &n), WEIR_OK);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%02x", packed[i]);
    fputc('\n', out);
}

static void answer(FILE *in, FILE *out)
{
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, in)) > 0;) {
        rig r;
        line[n - 1] = '\0';
        char *hex = strchr(line, ' ') + 1, *text = strchr(hex, ' ') + 1;
        const ProtobufCMessageDescriptor *type = line[0] == 'k' ? KINDS : OLD;
        text[-1] = '\0';
        rig_begin(&r, NULL);
        write_ours(out, &r, type, hex);
        read_theirs(out, &r, type, text);
        rig_end(&r);
    }
    free(line);
}

static void random_messages_are_the_same_to_googles_python(void **state)
{
    (void)state;
    char folder[SERVER_PATH_MAX], asked[SERVER_PATH_MAX + 8], answers[SERVER_PATH_MAX + 8];
    if (ORACLE_PYTHON[0] == '\0' || !run("%s -c 'import google.protobuf' 2>&1", ORACLE_PYTHON)) {
        print_message("skipped: no Python with google.protobuf\n");
        skip();
    }
    assert_true(server_dir_new(folder));
    (void)snprintf(asked, sizeof asked, "%s/asked", folder);
    (void)snprintf(answers, sizeof answers, "%s/answers", folder);
    assert_true(run("%s -I %s/protos --python_out=%s json_kinds.proto json_old.proto",
                    ORACLE_PROTOC, ORACLE_TREE, folder));
    assert_true(run("%s %s/protobuf_json_oracle.py %s make %s %d %s", ORACLE_PYTHON, ORACLE_TREE,
                    folder, seed(), MESSAGES, asked));
    FILE *in = fopen(asked, "r"), *out = fopen(answers, "w");
    assert_true(in != NULL && out != NULL);
    answer(in, out);
    fclose(in);
    fclose(out);
    assert_true(run("%s %s/protobuf_json_oracle.py %s check %s %s", ORACLE_PYTHON, ORACLE_TREE,
                    folder, asked, answers));
    assert_true(run("rm -r %s", folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_messages_are_the_same_to_googles_python),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* grpc.reflection: both versions, whose messages are the same, answered by one handler. */
#include "rpc_symbols.h"

#if WEIR_HAVE_RPC

#include "grpc/reflection/v1/reflection.weir.h"
#include "grpc/reflection/v1alpha/reflection.weir.h"

#include <string.h>

#define ASKED(what)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWER(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer;
typedef Grpc__Reflection__V1__ServiceResponse service_name;

enum { VERSIONS = 2 };

struct weir_rpc_reflection {
    const weir_env *env;
    wi_rpc_symbols symbols;
    service_name *names, **listed;
    int32_t *numbers; /* of all extensions, in their order */
    size_t count;
    weir_rpc_handler handler;
    weir_rpc_method alpha_method;
    weir_rpc_service_type alpha_type;
    weir_rpc_service services[VERSIONS];
};

/* The state of a stream. The arrays have a place for each file. */
typedef struct stream {
    bool *sent;   /* on this stream */
    bool *queued; /* for this answer */
    uint32_t *queue;
    ProtobufCBinaryData *rows;
    bool asked;
} stream;

/* An answer, and what it may be made of. */
typedef struct made {
    answer answer;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ExtensionNumberResponse numbers;
    Grpc__Reflection__V1__ListServiceResponse list;
    Grpc__Reflection__V1__ErrorResponse error;
} made;

/* ---- Answers ---- */

static void say_error(made *m, weir_rpc_code code, const char *text)
{
    grpc__reflection__v1__error_response__init(&m->error);
    m->error.error_code = (int32_t)code;
    m->error.error_message = (char *)(uintptr_t)text;
    m->answer.message_response_case = ANSWER(ERROR_RESPONSE);
    m->answer.error_response = &m->error;
}

static uint32_t queue_file(stream *s, uint32_t queued, uint32_t file)
{
    if (file != UINT32_MAX && !s->queued[file]) {
        s->queued[file] = true;
        s->queue[queued++] = file;
    }
    return queued;
}

/* The file, whatever was sent before, and of its imports those that were not. */
static void say_file(const weir_rpc_reflection *reflection, stream *s, uint32_t file, made *m)
{
    const wi_rpc_symbols *symbols = &reflection->symbols;
    grpc__reflection__v1__file_descriptor_response__init(&m->files);
    memset(s->queued, 0, symbols->file_count * sizeof *s->queued);
    uint32_t queued = queue_file(s, 0, file);
    for (uint32_t i = 0; i < queued; i++) {
        uint32_t at = s->queue[i];
        const weir_rpc_file *found = symbols->files[at];
        for (const weir_rpc_file *const *to = found->imports; to != NULL && *to != NULL; to++)
            queued = queue_file(s, queued, wi_rpc_symbols_file(symbols, (*to)->name));
        if (i > 0 && s->sent[at])
            continue;
        s->sent[at] = true;
        s->rows[m->files.n_file_descriptor_proto++] =
            (ProtobufCBinaryData){ found->n, (uint8_t *)(uintptr_t)found->bytes };
    }
    m->files.file_descriptor_proto = s->rows;
    m->answer.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
    m->answer.file_descriptor_response = &m->files;
}

static void answer_file(const weir_rpc_reflection *reflection, stream *s, const char *name, made *m)
{
    uint32_t file = wi_rpc_symbols_file(&reflection->symbols, name);
    if (file == UINT32_MAX)
        say_error(m, WEIR_RPC_NOT_FOUND, "file not found");
    else
        say_file(reflection, s, file, m);
}

static void answer_symbol(const weir_rpc_reflection *reflection, stream *s, const char *name,
                          made *m)
{
    const wi_rpc_symbol *symbol = wi_rpc_symbols_find(&reflection->symbols, name);
    if (symbol == NULL)
        say_error(m, WEIR_RPC_NOT_FOUND, "symbol not found");
    else
        say_file(reflection, s, symbol->file, m);
}

static void answer_extension(const weir_rpc_reflection *reflection, stream *s,
                             const Grpc__Reflection__V1__ExtensionRequest *asked, made *m)
{
    const wi_rpc_extension *found = wi_rpc_symbols_extension(
        &reflection->symbols, asked->containing_type, asked->extension_number);
    if (found == NULL || found->number != asked->extension_number)
        say_error(m, WEIR_RPC_NOT_FOUND, "extension not found");
    else
        say_file(reflection, s, found->file, m);
}

static void answer_numbers(const weir_rpc_reflection *reflection, const char *type, made *m)
{
    const wi_rpc_symbols *symbols = &reflection->symbols;
    const wi_rpc_symbol *symbol = wi_rpc_symbols_find(symbols, type);
    if (symbol == NULL || !symbol->is_message) {
        say_error(m, WEIR_RPC_NOT_FOUND, "type not found");
        return;
    }
    grpc__reflection__v1__extension_number_response__init(&m->numbers);
    m->numbers.base_type_name = (char *)(uintptr_t)symbol->name;
    const wi_rpc_extension *first = wi_rpc_symbols_extension(symbols, type, INT32_MIN);
    if (first != NULL) {
        const wi_rpc_extension *end = symbols->extensions + symbols->extension_count, *last = first;
        while (last < end && strcmp(last->type, type) == 0)
            last++;
        m->numbers.extension_number = reflection->numbers + (first - symbols->extensions);
        m->numbers.n_extension_number = (size_t)(last - first);
    }
    m->answer.message_response_case = ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE);
    m->answer.all_extension_numbers_response = &m->numbers;
}

static void answer_list(const weir_rpc_reflection *reflection, made *m)
{
    grpc__reflection__v1__list_service_response__init(&m->list);
    m->list.service = reflection->listed;
    m->list.n_service = reflection->count;
    m->answer.message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
    m->answer.list_services_response = &m->list;
}

static void answer_to(const weir_rpc_reflection *reflection, stream *s, const question *asked,
                      made *m)
{
    switch ((int)asked->message_request_case) {
    case ASKED(FILE_BY_FILENAME):
        answer_file(reflection, s, asked->file_by_filename, m);
        break;
    case ASKED(FILE_CONTAINING_SYMBOL):
        answer_symbol(reflection, s, asked->file_containing_symbol, m);
        break;
    case ASKED(FILE_CONTAINING_EXTENSION):
        answer_extension(reflection, s, asked->file_containing_extension, m);
        break;
    case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_numbers(reflection, asked->all_extension_numbers_of_type, m);
        break;
    case ASKED(LIST_SERVICES):
        answer_list(reflection, m);
        break;
    default:
        say_error(m, WEIR_RPC_UNIMPLEMENTED, "not a question of this version");
        break;
    }
}

/* ---- Streams ---- */

/* One question at a time, as there is room for its answer. */
static void ask(weir_rpc_call *call, void *user)
{
    stream *s = weir_rpc_call_state(call);
    (void)user;
    if (s->rows == NULL || s->asked || weir_rpc_room(call) == 0)
        return;
    s->asked = true;
    weir_rpc_request(call, 1);
}

static void begin(weir_rpc_call *call, void *user)
{
    const weir_rpc_reflection *reflection = user;
    stream *s = weir_rpc_call_state(call);
    weir_arena *arena = weir_rpc_call_arena(call);
    size_t n = reflection->symbols.file_count;
    s->sent = weir_arena_take(arena, 2 * n * sizeof *s->sent);
    s->queue = weir_arena_take(arena, n * sizeof *s->queue);
    ProtobufCBinaryData *rows = weir_arena_take(arena, n * sizeof *rows);
    if (s->sent == NULL || s->queue == NULL || rows == NULL) {
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    s->queued = s->sent + n;
    s->rows = rows;
    memset(s->sent, 0, 2 * n * sizeof *s->sent);
    ask(call, user);
}

static void message(weir_rpc_call *call, const ProtobufCMessage *message_, void *user)
{
    const question *asked = (const question *)message_;
    stream *s = weir_rpc_call_state(call);
    made m = { .answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT };
    s->asked = false;
    m.answer.valid_host = asked->host;
    m.answer.original_request = (question *)(uintptr_t)asked;
    answer_to(user, s, asked, &m);
    weir_status status = weir_rpc_send(call, &m.answer.base);
    if (status == WEIR_OK)
        ask(call, user);
    else
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "the answer cannot be sent");
}

static void end(weir_rpc_call *call, void *user)
{
    (void)user;
    (void)weir_rpc_finish(call, WEIR_RPC_OK, NULL);
}

static void drain(weir_rpc_call *call, void *user)
{
    (void)user;
    (void)weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, "shutting down");
}

/* ---- All of it ---- */

/* The older version's service, with the newer one's messages: they are the same on the wire. */
static void make_services(weir_rpc_reflection *reflection)
{
    const weir_rpc_service_type *v1 = &grpc_reflection_v1_server_reflection_service;
    const weir_rpc_service_type *alpha = &grpc_reflection_v1alpha_server_reflection_service;
    reflection->handler = (weir_rpc_handler){ .begin = begin,
                                              .message = message,
                                              .end = end,
                                              .room = ask,
                                              .drain = drain,
                                              .state_size = sizeof(stream) };
    reflection->alpha_method = alpha->methods[0];
    reflection->alpha_method.request = v1->methods[0].request;
    reflection->alpha_method.response = v1->methods[0].response;
    reflection->alpha_type = *alpha;
    reflection->alpha_type.methods = &reflection->alpha_method;
    reflection->services[WEIR_RPC_REFLECTION_V1] = (weir_rpc_service){ v1, &reflection->handler,
                                                                       reflection };
    reflection->services[WEIR_RPC_REFLECTION_V1ALPHA] =
        (weir_rpc_service){ &reflection->alpha_type, &reflection->handler, reflection };
}

static void list_name(weir_rpc_reflection *reflection, const char *name)
{
    service_name *at = &reflection->names[reflection->count];
    grpc__reflection__v1__service_response__init(at);
    at->name = (char *)(uintptr_t)name;
    reflection->listed[reflection->count++] = at;
}

static weir_status number_extensions(weir_rpc_reflection *reflection)
{
    const wi_rpc_symbols *symbols = &reflection->symbols;
    reflection->numbers = weir_memory_new(reflection->env, (symbols->extension_count + 1) *
                                                               sizeof *reflection->numbers);
    if (reflection->numbers == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < symbols->extension_count; i++)
        reflection->numbers[i] = symbols->extensions[i].number;
    return WEIR_OK;
}

static weir_status make(weir_rpc_reflection *reflection, const weir_rpc_service *const *services,
                        size_t count)
{
    const weir_env *env = reflection->env;
    size_t n = count + VERSIONS;
    const weir_rpc_file **files = weir_memory_new(env, n * sizeof *files);
    reflection->names = weir_memory_new(env, n * sizeof(service_name));
    reflection->listed = weir_memory_new(env, n * sizeof(service_name *));
    weir_status status = WEIR_ENOMEM;
    if (files != NULL && reflection->names != NULL && reflection->listed != NULL) {
        for (size_t i = 0; i < n; i++) {
            const weir_rpc_service *service = i < count ? services[i]
                                                        : &reflection->services[i - count];
            files[i] = service->type->file;
            list_name(reflection, service->type->name);
        }
        status = wi_rpc_symbols_make(&reflection->symbols, env, files, n);
    }
    weir_memory_free(env, files);
    return status == WEIR_OK ? number_extensions(reflection) : status;
}

weir_rpc_reflection *weir_rpc_reflection_new(const weir_env *env,
                                             const weir_rpc_service *const *services, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (services == NULL || services[i] == NULL || services[i]->type == NULL)
            return NULL;
    weir_rpc_reflection *reflection = weir_memory_new(env, sizeof *reflection);
    if (reflection == NULL)
        return NULL;
    reflection->env = reflection->symbols.env = env;
    make_services(reflection);
    if (make(reflection, services, count) == WEIR_OK)
        return reflection;
    weir_rpc_reflection_free(reflection);
    return NULL;
}

void weir_rpc_reflection_free(weir_rpc_reflection *reflection)
{
    if (reflection == NULL)
        return;
    wi_rpc_symbols_done(&reflection->symbols);
    weir_memory_free(reflection->env, reflection->numbers);
    weir_memory_free(reflection->env, reflection->names);
    weir_memory_free(reflection->env, reflection->listed);
    weir_memory_free(reflection->env, reflection);
}

const weir_rpc_service *weir_rpc_reflection_service(const weir_rpc_reflection *reflection,
                                                    weir_rpc_reflection_version version)
{
    return reflection != NULL ? &reflection->services[version] : NULL;
}

#endif

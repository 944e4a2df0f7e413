/* Files of services by name, and what is declared in them. */
#include "rpc_symbols.h"

#if WEIR_HAVE_RPC

#include "google/protobuf/descriptor.pb-c.h"

#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;

/* A message that is still to be looked at. */
typedef struct todo {
    struct todo *next;
    const char *scope;
    const message_proto *message;
} todo;

/* The walk through one file. The first error stays. */
typedef struct walk {
    wi_rpc_symbols *symbols;
    uint32_t file;
    weir_arena *scratch;
    todo *todo;
    weir_status status;
} walk;

/* Gives room for one more, or false. */
static bool grow(const weir_env *env, void *array, size_t *cap, size_t count, size_t bytes)
{
    void **at = array;
    if (count < *cap)
        return true;
    size_t more = *cap != 0 ? 2 * *cap : 16;
    void *grown = weir_memory_resize(env, *at, more * bytes);
    if (grown == NULL)
        return false;
    *at = grown;
    *cap = more;
    return true;
}

/* ---- Files ---- */

static weir_status add_file(wi_rpc_symbols *symbols, const weir_rpc_file *file)
{
    for (uint32_t i = 0; i < symbols->file_count; i++)
        if (symbols->files[i] == file || strcmp(symbols->files[i]->name, file->name) == 0)
            return WEIR_OK;
    if (symbols->file_count == WEIR_RPC_REFLECTION_FILES_MAX)
        return WEIR_ELIMIT;
    if (!grow(symbols->env, &symbols->files, &symbols->file_cap, symbols->file_count,
              sizeof *symbols->files))
        return WEIR_ENOMEM;
    symbols->files[symbols->file_count++] = file;
    return WEIR_OK;
}

static int compare_files(const void *a, const void *b)
{
    const weir_rpc_file *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static weir_status add_files(wi_rpc_symbols *symbols, const weir_rpc_file *const *files, size_t n)
{
    weir_status status = WEIR_OK;
    for (size_t i = 0; i < n && status == WEIR_OK; i++)
        if (files[i] != NULL)
            status = add_file(symbols, files[i]);
    for (uint32_t i = 0; i < symbols->file_count && status == WEIR_OK; i++)
        for (const weir_rpc_file *const *at = symbols->files[i]->imports;
             at != NULL && *at != NULL && status == WEIR_OK; at++)
            status = add_file(symbols, *at);
    if (symbols->file_count > 0)
        qsort(symbols->files, symbols->file_count, sizeof *symbols->files, compare_files);
    return status;
}

/* ---- What is declared in one ---- */

static const char *join(walk *w, const char *scope, const char *name)
{
    size_t n = strlen(scope), m = name != NULL ? strlen(name) : 0;
    char *full = weir_arena_take(&w->symbols->names, n + m + 2);
    if (full == NULL) {
        w->status = WEIR_ENOMEM;
        return NULL;
    }
    memcpy(full, scope, n);
    if (n > 0)
        full[n++] = '.';
    if (m > 0)
        memcpy(full + n, name, m);
    full[n + m] = '\0';
    return full;
}

static const char *add_symbol(walk *w, const char *scope, const char *name, bool is_message)
{
    wi_rpc_symbols *symbols = w->symbols;
    if (w->status != WEIR_OK)
        return NULL;
    const char *full = join(w, scope, name);
    if (full == NULL)
        return NULL;
    if (!grow(symbols->env, &symbols->symbols, &symbols->symbol_cap, symbols->symbol_count,
              sizeof *symbols->symbols)) {
        w->status = WEIR_ENOMEM;
        return NULL;
    }
    symbols->symbols[symbols->symbol_count++] = (wi_rpc_symbol){ full, w->file, is_message };
    return full;
}

static void add_extension(walk *w, const char *scope, const field_proto *field)
{
    wi_rpc_symbols *symbols = w->symbols;
    if (add_symbol(w, scope, field->name, false) == NULL || field->extendee == NULL)
        return;
    const char *type = join(w, "", field->extendee + (field->extendee[0] == '.'));
    if (type == NULL || !grow(symbols->env, &symbols->extensions, &symbols->extension_cap,
                              symbols->extension_count, sizeof *symbols->extensions)) {
        w->status = WEIR_ENOMEM;
        return;
    }
    symbols->extensions[symbols->extension_count++] = (wi_rpc_extension){ type, field->number,
                                                                          w->file };
}

/* The values of an enum are declared beside it. */
static void add_enum(walk *w, const char *scope, const enum_proto *type)
{
    add_symbol(w, scope, type->name, false);
    for (size_t i = 0; i < type->n_value; i++)
        add_symbol(w, scope, type->value[i]->name, false);
}

static void add_service(walk *w, const char *scope, const service_proto *service)
{
    const char *full = add_symbol(w, scope, service->name, false);
    for (size_t i = 0; i < service->n_method && full != NULL; i++)
        add_symbol(w, full, service->method[i]->name, false);
}

static void push(walk *w, const char *scope, const message_proto *message)
{
    todo *at = weir_arena_take(w->scratch, sizeof *at);
    if (at == NULL) {
        w->status = WEIR_ENOMEM;
        return;
    }
    *at = (todo){ w->todo, scope, message };
    w->todo = at;
}

static void add_message(walk *w, const char *scope, const message_proto *message)
{
    const char *full = add_symbol(w, scope, message->name, true);
    if (full == NULL)
        return;
    for (size_t i = 0; i < message->n_field; i++)
        add_symbol(w, full, message->field[i]->name, false);
    for (size_t i = 0; i < message->n_oneof_decl; i++)
        add_symbol(w, full, message->oneof_decl[i]->name, false);
    for (size_t i = 0; i < message->n_enum_type; i++)
        add_enum(w, full, message->enum_type[i]);
    for (size_t i = 0; i < message->n_extension; i++)
        add_extension(w, full, message->extension[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        push(w, full, message->nested_type[i]);
}

static void add_all(walk *w, const file_proto *file)
{
    const char *package = file->package != NULL ? file->package : "";
    for (size_t i = 0; i < file->n_enum_type; i++)
        add_enum(w, package, file->enum_type[i]);
    for (size_t i = 0; i < file->n_service; i++)
        add_service(w, package, file->service[i]);
    for (size_t i = 0; i < file->n_extension; i++)
        add_extension(w, package, file->extension[i]);
    for (size_t i = 0; i < file->n_message_type; i++)
        push(w, package, file->message_type[i]);
    while (w->todo != NULL && w->status == WEIR_OK) {
        const todo *at = w->todo;
        w->todo = at->next;
        add_message(w, at->scope, at->message);
    }
}

static weir_status add_declared(wi_rpc_symbols *symbols, uint32_t index, weir_arena *scratch)
{
    const weir_protobuf_limits limits = { .bytes_max = UINT32_MAX };
    const weir_rpc_file *file = symbols->files[index];
    walk w = { .symbols = symbols, .file = index, .scratch = scratch };
    ProtobufCMessage *message = NULL;
    weir_arena_reset(scratch);
    w.status = weir_protobuf_unpack(&google__protobuf__file_descriptor_proto__descriptor,
                                    file->bytes, file->n, &limits, scratch, &message, NULL);
    if (w.status == WEIR_OK)
        add_all(&w, (const file_proto *)message);
    return w.status;
}

static int compare_symbols(const void *a, const void *b)
{
    return strcmp(((const wi_rpc_symbol *)a)->name, ((const wi_rpc_symbol *)b)->name);
}

static int compare_extensions(const void *a, const void *b)
{
    const wi_rpc_extension *left = a, *right = b;
    int order = strcmp(left->type, right->type);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

weir_status wi_rpc_symbols_make(wi_rpc_symbols *symbols, const weir_env *env,
                                const weir_rpc_file *const *files, size_t n)
{
    weir_arena scratch;
    *symbols = (wi_rpc_symbols){ .env = env };
    weir_arena_init(&symbols->names, env, NULL, 0, SIZE_MAX);
    weir_arena_init(&scratch, env, NULL, 0, SIZE_MAX);
    weir_status status = add_files(symbols, files, n);
    for (uint32_t i = 0; i < symbols->file_count && status == WEIR_OK; i++)
        status = add_declared(symbols, i, &scratch);
    weir_arena_done(&scratch);
    if (status != WEIR_OK) {
        wi_rpc_symbols_done(symbols);
        return status;
    }
    if (symbols->symbol_count > 0)
        qsort(symbols->symbols, symbols->symbol_count, sizeof *symbols->symbols, compare_symbols);
    if (symbols->extension_count > 0)
        qsort(symbols->extensions, symbols->extension_count, sizeof *symbols->extensions,
              compare_extensions);
    return WEIR_OK;
}

void wi_rpc_symbols_done(wi_rpc_symbols *symbols)
{
    weir_memory_free(symbols->env, symbols->files);
    weir_memory_free(symbols->env, symbols->symbols);
    weir_memory_free(symbols->env, symbols->extensions);
    weir_arena_done(&symbols->names);
    *symbols = (wi_rpc_symbols){ .env = symbols->env };
}

/* ---- Finding ---- */

uint32_t wi_rpc_symbols_file(const wi_rpc_symbols *symbols, const char *name)
{
    const weir_rpc_file key = { .name = name }, *at = &key;
    if (symbols->file_count == 0)
        return UINT32_MAX;
    const weir_rpc_file **found = bsearch(&at, symbols->files, symbols->file_count,
                                          sizeof *symbols->files, compare_files);
    return found != NULL ? (uint32_t)(found - symbols->files) : UINT32_MAX;
}

const wi_rpc_symbol *wi_rpc_symbols_find(const wi_rpc_symbols *symbols, const char *name)
{
    const wi_rpc_symbol key = { .name = name };
    if (symbols->symbol_count == 0)
        return NULL;
    return bsearch(&key, symbols->symbols, symbols->symbol_count, sizeof key, compare_symbols);
}

const wi_rpc_extension *wi_rpc_symbols_extension(const wi_rpc_symbols *symbols, const char *type,
                                                 int32_t number)
{
    const wi_rpc_extension key = { type, number, 0 };
    uint32_t low = 0, high = symbols->extension_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_extensions(&symbols->extensions[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (high == symbols->extension_count || strcmp(symbols->extensions[high].type, type) != 0)
        return NULL;
    return &symbols->extensions[high];
}

#endif

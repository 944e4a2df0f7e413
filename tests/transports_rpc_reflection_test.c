/* The service of reflection over real sockets, in both versions: lists, files with their imports,
 * symbols, extensions, what is not there. */
#include "rpc_rig.h"

#include <weir/rpc_reflection.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "grpc/reflection/v1/reflection.weir.h"

#define ASKED(what)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWER(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

typedef Grpc__Reflection__V1__ServerReflectionRequest question;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer_message;

/* ---- Files: z imports y and x, y imports x ---- */

typedef Google__Protobuf__FileDescriptorProto file_proto;

/* Everything that there is, in one file. All names are known by their place. */
static void make_y(file_proto *file)
{
    static Google__Protobuf__FieldDescriptorProto field, extension, inner_extension;
    static Google__Protobuf__FieldDescriptorProto *fields[] = { &field };
    static Google__Protobuf__FieldDescriptorProto *extensions[] = { &extension };
    static Google__Protobuf__FieldDescriptorProto *inner_extensions[] = { &inner_extension };
    static Google__Protobuf__OneofDescriptorProto oneof;
    static Google__Protobuf__OneofDescriptorProto *oneofs[] = { &oneof };
    static Google__Protobuf__EnumValueDescriptorProto value;
    static Google__Protobuf__EnumValueDescriptorProto *values[] = { &value };
    static Google__Protobuf__EnumDescriptorProto colour;
    static Google__Protobuf__EnumDescriptorProto *enums[] = { &colour };
    static Google__Protobuf__DescriptorProto outer, inner;
    static Google__Protobuf__DescriptorProto *outers[] = { &outer }, *inners[] = { &inner };
    static Google__Protobuf__MethodDescriptorProto method;
    static Google__Protobuf__MethodDescriptorProto *methods[] = { &method };
    static Google__Protobuf__ServiceDescriptorProto service;
    static Google__Protobuf__ServiceDescriptorProto *services[] = { &service };
    google__protobuf__field_descriptor_proto__init(&field);
    google__protobuf__oneof_descriptor_proto__init(&oneof);
    google__protobuf__enum_value_descriptor_proto__init(&value);
    google__protobuf__enum_descriptor_proto__init(&colour);
    google__protobuf__descriptor_proto__init(&outer);
    google__protobuf__method_descriptor_proto__init(&method);
    google__protobuf__service_descriptor_proto__init(&service);
    field.name = "field";
    oneof.name = "choice";
    value.name = "RED";
    colour.name = "Colour";
    colour.value = values;
    colour.n_value = 1;
    inner_extension = extension = field;
    extension.name = "extension";
    extension.extendee = ".x.Message";
    extension.number = 100;
    extension.has_number = true;
    inner_extension = extension;
    inner_extension.name = "inner_extension";
    inner_extension.number = 7;
    inner = outer;
    inner.name = "Inner";
    inner.field = fields;
    inner.enum_type = enums;
    inner.extension = inner_extensions;
    inner.n_field = inner.n_enum_type = inner.n_extension = 1;
    outer.name = "Outer";
    outer.oneof_decl = oneofs;
    outer.nested_type = inners;
    outer.n_oneof_decl = outer.n_nested_type = 1;
    method.name = "Method";
    service.name = "Service";
    service.method = methods;
    service.n_method = 1;
    file->message_type = outers;
    file->enum_type = enums;
    file->extension = extensions;
    file->service = services;
    file->n_message_type = file->n_enum_type = file->n_extension = file->n_service = 1;
}

static void make_x(file_proto *file)
{
    static Google__Protobuf__DescriptorProto message;
    static Google__Protobuf__DescriptorProto *messages[] = { &message };
    google__protobuf__descriptor_proto__init(&message);
    message.name = "Message";
    file->message_type = messages;
    file->n_message_type = 1;
}

static uint8_t bytes[3][1024];
static weir_rpc_file files[3];

static void make_file(int index, char *name, char *package, void (*make)(file_proto *file),
                      const weir_rpc_file *const *imports)
{
    file_proto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file.name = name;
    file.package = package;
    if (make != NULL)
        make(&file);
    size_t n = google__protobuf__file_descriptor_proto__get_packed_size(&file);
    assert_true(n <= sizeof bytes[index]);
    google__protobuf__file_descriptor_proto__pack(&file, bytes[index]);
    files[index] = (weir_rpc_file){ name, bytes[index], n, imports };
}

enum { Z, Y, X };

static void make_files(void)
{
    static const weir_rpc_file *const none[] = { NULL };
    static const weir_rpc_file *const of_z[] = { &files[Y], &files[X], NULL };
    static const weir_rpc_file *const of_y[] = { &files[X], NULL };
    make_file(X, "x.proto", "x", make_x, none);
    make_file(Y, "y.proto", "y.v1", make_y, of_y);
    make_file(Z, "z.proto", NULL, make_y, of_z);
}

/* ---- The rig ---- */

static const weir_rpc_service_type z_type = { "Service", NULL, 0, &files[Z] };
static const weir_rpc_service_type bare_type = { "bare.Service", NULL, 0, NULL };
static const weir_rpc_service z_service = { &z_type, NULL, NULL };
static const weir_rpc_service bare_service = { &bare_type, NULL, NULL };
static const weir_rpc_service *const shown[] = { &z_service, &bare_service };

typedef struct fixture {
    rig r;
    weir_rpc_reflection *reflection;
    client *c;
    rcall *k;
    weir_arena arena;
} fixture;

static void start_with(fixture *f, weir_rpc_reflection_version version)
{
    make_files();
    f->reflection = weir_rpc_reflection_new(NULL, shown, 2);
    assert_non_null(f->reflection);
    f->r.more[0] = weir_rpc_reflection_service(f->reflection, WEIR_RPC_REFLECTION_V1);
    f->r.more[1] = weir_rpc_reflection_service(f->reflection, WEIR_RPC_REFLECTION_V1ALPHA);
    rig_start(&f->r);
    f->c = client_new(&f->r, WEIR_HTTP_2);
    f->k = call_start_of(f->c, f->r.more[version]->type->methods, NULL);
    weir_arena_init(&f->arena, NULL, NULL, 0, 0);
}

static void start(fixture *f)
{
    start_with(f, WEIR_RPC_REFLECTION_V1);
}

static void stop(fixture *f)
{
    call_end(f->k);
    TURN_UNTIL(&f->r, f->k->got.over);
    assert_int_equal(f->k->got.code, WEIR_RPC_OK);
    call_free(f->k);
    weir_arena_done(&f->arena);
    rig_stop(&f->r);
    weir_rpc_reflection_free(f->reflection);
}

static const answer_message *ask(fixture *f, question asked)
{
    uint64_t had = f->k->got.messages;
    asked.host = "host";
    call_send(f->k, &asked.base);
    TURN_UNTIL(&f->r, f->k->got.messages > had || f->k->got.ended);
    assert_false(f->k->got.ended);
    const answer_message *said = (const void *)last_message(f->k, &f->arena);
    assert_string_equal(said->valid_host, "host");
    assert_int_equal(said->original_request->message_request_case, asked.message_request_case);
    return said;
}

static const answer_message *ask_text(fixture *f, int which, const char *text)
{
    question asked = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    asked.message_request_case = which;
    asked.list_services = (char *)(uintptr_t)text;
    return ask(f, asked);
}

static const answer_message *ask_extension(fixture *f, const char *type, int number)
{
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
    question asked = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    extension.containing_type = (char *)(uintptr_t)type;
    extension.extension_number = number;
    asked.message_request_case = ASKED(FILE_CONTAINING_EXTENSION);
    asked.file_containing_extension = &extension;
    return ask(f, asked);
}

/* "z.proto y.proto", in the order in which they came. */
static const char *names_of(fixture *f, const answer_message *said)
{
    static char text[256];
    assert_int_equal(said->message_response_case, ANSWER(FILE_DESCRIPTOR_RESPONSE));
    text[0] = '\0';
    for (size_t i = 0; i < said->file_descriptor_response->n_file_descriptor_proto; i++) {
        ProtobufCBinaryData at = said->file_descriptor_response->file_descriptor_proto[i];
        ProtobufCMessage *file = NULL;
        assert_int_equal(weir_protobuf_unpack(&google__protobuf__file_descriptor_proto__descriptor,
                                              at.data, at.len, NULL, &f->arena, &file, NULL),
                         WEIR_OK);
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? " " : "", ((file_proto *)file)->name);
    }
    return text;
}

static void expect_error(const answer_message *said, weir_rpc_code code)
{
    assert_int_equal(said->message_response_case, ANSWER(ERROR_RESPONSE));
    assert_int_equal(said->error_response->error_code, code);
    assert_true(strlen(said->error_response->error_message) > 0);
}

static void expect_symbol(fixture *f, const char *symbol, const char *file)
{
    const answer_message *said = ask_text(f, ASKED(FILE_CONTAINING_SYMBOL), symbol);
    const char *names = names_of(f, said);
    if (strncmp(names, file, strlen(file)) != 0)
        fail_msg("%s is in %s", symbol, names);
}

/* ---- Tests ---- */

static void list_services_names_all_and_itself(void **state)
{
    fixture f = { 0 };
    start(&f);
    const answer_message *said = ask_text(&f, ASKED(LIST_SERVICES), "*");
    (void)state;
    assert_int_equal(said->message_response_case, ANSWER(LIST_SERVICES_RESPONSE));
    const Grpc__Reflection__V1__ListServiceResponse *list = said->list_services_response;
    assert_int_equal(list->n_service, 4);
    assert_string_equal(list->service[0]->name, "Service");
    assert_string_equal(list->service[1]->name, "bare.Service");
    assert_string_equal(list->service[2]->name, "grpc.reflection.v1.ServerReflection");
    assert_string_equal(list->service[3]->name, "grpc.reflection.v1alpha.ServerReflection");
    stop(&f);
}

static void a_file_comes_with_all_that_it_imports(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    assert_string_equal(names_of(&f, ask_text(&f, ASKED(FILE_BY_FILENAME), "z.proto")),
                        "z.proto y.proto x.proto");
    stop(&f);
}

static void what_a_file_imports_comes_once_per_stream_and_the_file_always(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    assert_string_equal(names_of(&f, ask_text(&f, ASKED(FILE_BY_FILENAME), "y.proto")),
                        "y.proto x.proto");
    assert_string_equal(names_of(&f, ask_text(&f, ASKED(FILE_BY_FILENAME), "z.proto")), "z.proto");
    assert_string_equal(names_of(&f, ask_text(&f, ASKED(FILE_BY_FILENAME), "y.proto")), "y.proto");
    stop(&f);
}

static void every_kind_of_symbol_is_found(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    expect_symbol(&f, "y.v1.Service", "y.proto");
    expect_symbol(&f, "y.v1.Service.Method", "y.proto");
    expect_symbol(&f, "y.v1.Outer", "y.proto");
    expect_symbol(&f, "y.v1.Outer.choice", "y.proto");
    expect_symbol(&f, "y.v1.Outer.Inner", "y.proto");
    expect_symbol(&f, "y.v1.Outer.Inner.field", "y.proto");
    expect_symbol(&f, "y.v1.Outer.Inner.Colour", "y.proto");
    expect_symbol(&f, "y.v1.Outer.Inner.RED", "y.proto");
    expect_symbol(&f, "y.v1.Outer.Inner.inner_extension", "y.proto");
    expect_symbol(&f, "y.v1.Colour", "y.proto");
    expect_symbol(&f, "y.v1.RED", "y.proto");
    expect_symbol(&f, "y.v1.extension", "y.proto");
    expect_symbol(&f, "x.Message", "x.proto");
    stop(&f);
}

static void symbols_of_a_file_without_a_package_are_found(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    expect_symbol(&f, "Service", "z.proto");
    expect_symbol(&f, "Outer.Inner.field", "z.proto");
    stop(&f);
}

static void reflection_shows_itself(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    expect_symbol(&f, "grpc.reflection.v1.ServerReflection.ServerReflectionInfo",
                  "grpc/reflection/v1/reflection.proto");
    expect_symbol(&f, "grpc.reflection.v1alpha.ServerReflectionRequest.list_services",
                  "grpc/reflection/v1alpha/reflection.proto");
    stop(&f);
}

static void extensions_are_found_by_their_number(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    assert_non_null(strstr("y.proto x.proto z.proto x.proto",
                           names_of(&f, ask_extension(&f, "x.Message", 100))));
    expect_error(ask_extension(&f, "x.Message", 99), WEIR_RPC_NOT_FOUND);
    expect_error(ask_extension(&f, "x.Messag", 100), WEIR_RPC_NOT_FOUND);
    stop(&f);
}

/* Two files have them, which a real set would not. */
static void all_numbers_of_extensions_are_given_in_order(void **state)
{
    fixture f = { 0 };
    start(&f);
    const answer_message *said = ask_text(&f, ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), "x.Message");
    (void)state;
    assert_int_equal(said->message_response_case, ANSWER(ALL_EXTENSION_NUMBERS_RESPONSE));
    const Grpc__Reflection__V1__ExtensionNumberResponse *numbers =
        said->all_extension_numbers_response;
    assert_string_equal(numbers->base_type_name, "x.Message");
    assert_int_equal(numbers->n_extension_number, 4);
    assert_int_equal(numbers->extension_number[0], 7);
    assert_int_equal(numbers->extension_number[3], 100);
    said = ask_text(&f, ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), "y.v1.Outer");
    assert_int_equal(said->all_extension_numbers_response->n_extension_number, 0);
    stop(&f);
}

static void what_is_not_there_is_an_error_and_the_stream_goes_on(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    expect_error(ask_text(&f, ASKED(FILE_BY_FILENAME), "y.prot"), WEIR_RPC_NOT_FOUND);
    expect_error(ask_text(&f, ASKED(FILE_CONTAINING_SYMBOL), "y.v1"), WEIR_RPC_NOT_FOUND);
    expect_error(ask_text(&f, ASKED(FILE_CONTAINING_SYMBOL), ""), WEIR_RPC_NOT_FOUND);
    expect_error(ask_text(&f, ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), "y.v1.Service"),
                 WEIR_RPC_NOT_FOUND);
    expect_error(ask(&f, (question)GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT),
                 WEIR_RPC_UNIMPLEMENTED);
    expect_symbol(&f, "x.Message", "x.proto");
    stop(&f);
}

static void the_older_version_answers_alike(void **state)
{
    fixture f = { 0 };
    start_with(&f, WEIR_RPC_REFLECTION_V1ALPHA);
    (void)state;
    assert_string_equal(f.k->method->path,
                        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    expect_symbol(&f, "y.v1.Outer", "y.proto x.proto");
    expect_error(ask_text(&f, ASKED(FILE_BY_FILENAME), ""), WEIR_RPC_NOT_FOUND);
    stop(&f);
}

static void many_questions_at_once_are_answered_as_there_is_room(void **state)
{
    enum { QUESTIONS = 500 };
    fixture f = { .r.config.send_bytes_max = 512 };
    question asked = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    start(&f);
    (void)state;
    asked.message_request_case = ASKED(FILE_BY_FILENAME);
    asked.file_by_filename = "y.proto";
    f.k->stingy = true;
    for (int i = 0; i < QUESTIONS; i++)
        call_send(f.k, &asked.base);
    turns(&f.r, 100);
    assert_in_range(f.k->got.messages, 1, QUESTIONS - 1);
    f.k->stingy = false;
    weir_http_exchange_consume(f.k->exchange, f.k->unconsumed);
    TURN_UNTIL(&f.r, f.k->got.messages == QUESTIONS);
    stop(&f);
}

static void a_drain_ends_a_stream(void **state)
{
    fixture f = { 0 };
    start(&f);
    (void)state;
    expect_symbol(&f, "x.Message", "x.proto");
    weir_pipeline_shutdown(f.r.pipeline, WEIR_DRAIN, 0);
    TURN_UNTIL(&f.r, f.k->got.over);
    assert_int_equal(f.k->got.code, WEIR_RPC_UNAVAILABLE);
    call_free(f.k);
    weir_arena_done(&f.arena);
    rig_stop(&f.r);
    weir_rpc_reflection_free(f.reflection);
}

static void a_file_that_is_malformed_is_refused(void **state)
{
    (void)state;
    make_files();
    files[X].n--;
    assert_null(weir_rpc_reflection_new(NULL, shown, 2));
}

static void *resize(void *memory, size_t n, void *user)
{
    int *left = user;
    if (n == 0) {
        free(memory);
        return NULL;
    }
    return (*left)-- > 0 ? realloc(memory, n) : NULL;
}

static void every_allocation_may_fail(void **state)
{
    int left = 0;
    weir_env env = { .allocator = { resize, &left } };
    weir_rpc_reflection *reflection = NULL;
    (void)state;
    make_files();
    for (int n = 0; reflection == NULL; n++) {
        assert_true(n < 100);
        left = n;
        reflection = weir_rpc_reflection_new(&env, shown, 2);
    }
    weir_rpc_reflection_free(reflection);
    weir_rpc_reflection_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_services_names_all_and_itself),
        cmocka_unit_test(a_file_comes_with_all_that_it_imports),
        cmocka_unit_test(what_a_file_imports_comes_once_per_stream_and_the_file_always),
        cmocka_unit_test(every_kind_of_symbol_is_found),
        cmocka_unit_test(symbols_of_a_file_without_a_package_are_found),
        cmocka_unit_test(reflection_shows_itself),
        cmocka_unit_test(extensions_are_found_by_their_number),
        cmocka_unit_test(all_numbers_of_extensions_are_given_in_order),
        cmocka_unit_test(what_is_not_there_is_an_error_and_the_stream_goes_on),
        cmocka_unit_test(the_older_version_answers_alike),
        cmocka_unit_test(many_questions_at_once_are_answered_as_there_is_room),
        cmocka_unit_test(a_drain_ends_a_stream),
        cmocka_unit_test(a_file_that_is_malformed_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

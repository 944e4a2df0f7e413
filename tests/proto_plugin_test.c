/* What protoc-gen-weir makes of tests/protos/plugin: tables, typed handlers, typed calls. What they
 * call of the core is taken the place of here. */
#include <google/protobuf/any.weir.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <google/rpc/error_details.weir.h>
#include <grpc/health/v1/health.weir.h>
#include <grpc/reflection/v1/reflection.weir.h>
#include <grpc/reflection/v1alpha/reflection.weir.h>
#include <nasty.weir.h>
#include <nopackage.weir.h>
#include <nothing.weir.h>
#include <options.weir.h>
#include <pb_c.weir.h>
#include <publicly.weir.h>
#include <2d/odd-name.v1.weir.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef weird_pkg_name_v2_beta_http_thing2_server things_server;
#define things(name) weird_pkg_name_v2_beta_http_thing2_##name

/* What the generated code asked of the core. */
static struct {
    const void *typed;
    const weir_rpc_method *method;
    const ProtobufCMessage *message;
    weir_rpc_handler handler;
    void *user;
    uint32_t asked, started, sent, replied;
} core;

const void *__wrap_weir_rpc_call_typed(const weir_rpc_call *call);
weir_status __wrap_weir_rpc_ask(weir_rpc_channel *channel, const weir_rpc_method *method,
                                const weir_rpc_options *options, const ProtobufCMessage *request,
                                const weir_rpc_handler *handler, void *user,
                                weir_rpc_call **ret_call);
weir_status __wrap_weir_rpc_start(weir_rpc_channel *channel, const weir_rpc_method *method,
                                  const weir_rpc_options *options, const weir_rpc_handler *handler,
                                  void *user, weir_rpc_call **ret_call);
weir_status __wrap_weir_rpc_send(weir_rpc_call *call, const ProtobufCMessage *message);
weir_status __wrap_weir_rpc_reply(weir_rpc_call *call, const ProtobufCMessage *message);

const void *__wrap_weir_rpc_call_typed(const weir_rpc_call *call)
{
    (void)call;
    return core.typed;
}

weir_status __wrap_weir_rpc_ask(weir_rpc_channel *channel, const weir_rpc_method *method,
                                const weir_rpc_options *options, const ProtobufCMessage *request,
                                const weir_rpc_handler *handler, void *user,
                                weir_rpc_call **ret_call)
{
    core.message = request;
    core.asked++;
    core.started--;
    return __wrap_weir_rpc_start(channel, method, options, handler, user, ret_call);
}

weir_status __wrap_weir_rpc_start(weir_rpc_channel *channel, const weir_rpc_method *method,
                                  const weir_rpc_options *options, const weir_rpc_handler *handler,
                                  void *user, weir_rpc_call **ret_call)
{
    (void)channel;
    (void)options;
    core.started++;
    core.method = method;
    core.handler = *handler;
    core.typed = handler->typed;
    core.user = user;
    *ret_call = NULL;
    return WEIR_OK;
}

weir_status __wrap_weir_rpc_send(weir_rpc_call *call, const ProtobufCMessage *message)
{
    (void)call;
    core.message = message;
    core.sent++;
    return WEIR_OK;
}

weir_status __wrap_weir_rpc_reply(weir_rpc_call *call, const ProtobufCMessage *message)
{
    (void)call;
    core.message = message;
    core.replied++;
    return WEIR_OK;
}

static int reset(void **state)
{
    (void)state;
    memset(&core, 0, sizeof core);
    return 0;
}

static const void *told;

static void on_begin(weir_rpc_call *call, void *user)
{
    (void)call;
    (void)user;
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)code;
    (void)user;
}

static void on_thing(weir_rpc_call *call, const Weird__PkgName__V2Beta__HTTPThing *thing,
                     void *user)
{
    (void)call;
    (void)user;
    told = thing;
}

static void on_inner(weir_rpc_call *call, const Weird__PkgName__V2Beta__HTTPThing__InnerOne *inner,
                     void *user)
{
    (void)call;
    (void)user;
    told = inner;
}

static void a_service_knows_its_methods(void **state)
{
    (void)state;
    const weir_rpc_service_type *type = &things(service);
    assert_string_equal(type->name, "Weird.pkg_name.v2Beta.HTTPThing2");
    assert_int_equal(type->method_count, 22);
    assert_string_equal(type->methods[1].name, "New");
    assert_string_equal(type->methods[1].path, "/Weird.pkg_name.v2Beta.HTTPThing2/New");
    assert_int_equal(type->methods[0].kind, WEIR_RPC_UNARY);
    assert_int_equal(type->methods[1].kind, WEIR_RPC_SERVER_STREAM);
    assert_int_equal(type->methods[2].kind, WEIR_RPC_CLIENT_STREAM);
    assert_int_equal(type->methods[3].kind, WEIR_RPC_BIDI_STREAM);
    assert_ptr_equal(type->methods[0].response, &google__protobuf__empty__descriptor);
    assert_ptr_equal(type->methods[21].request, &weird__pkg_name__distant__descriptor);
    assert_ptr_equal(type->methods[21].response, &really__other_place__odd__descriptor);
    assert_ptr_equal(things(new_method)(), &type->methods[1]);
    assert_int_equal(weird_pkg_name_v2_beta_nothing_service.method_count, 0);
    assert_string_equal(nowhere_service_service.name, "Nowhere_service");
    assert_string_equal(nowhere_service_service.methods[0].path, "/Nowhere_service/Go");
}

static void idempotency_comes_from_the_option(void **state)
{
    (void)state;
    const weir_rpc_method *methods = things(service).methods;
    assert_true(methods[0].idempotent && !methods[0].no_side_effects);
    assert_false(methods[1].idempotent || methods[1].no_side_effects);
    assert_true(methods[4].idempotent && methods[4].no_side_effects);
}

static void a_method_without_handlers_stays_zero(void **state)
{
    (void)state;
    static const weir_rpc_handler zero;
    things_server server;
    memset(&server, 0, sizeof server);
    server.class_.message = on_inner;
    memset(server.handlers, 0xff, sizeof server.handlers);
    const weir_rpc_service *service = things(service_of)(&server);
    assert_memory_equal(&service->handlers[0], &zero, sizeof zero);
    assert_memory_equal(&service->handlers[21], &zero, sizeof zero);
    assert_non_null(service->handlers[2].message);
}

static void handlers_are_handed_on_and_messages_by_their_type(void **state)
{
    (void)state;
    int user;
    things_server server;
    memset(&server, 0, sizeof server);
    server.user = &user;
    server.class_.begin = on_begin;
    server.class_.message = on_inner;
    server.class_.end = on_begin;
    server.class_.over = on_over;
    server.class_.state_size = 40;
    server.int_.room = on_begin;
    const weir_rpc_service *service = things(service_of)(&server);
    assert_ptr_equal(service->type, &things(service));
    assert_ptr_equal(service->user, &user);
    const weir_rpc_handler *handler = &service->handlers[2];
    assert_true(handler->begin == on_begin && handler->end == on_begin);
    assert_true(handler->over == on_over && handler->room == NULL);
    assert_int_equal(handler->state_size, 40);
    assert_true(service->handlers[3].room == on_begin && service->handlers[3].message == NULL);
    Weird__PkgName__V2Beta__HTTPThing__InnerOne inner =
        WEIRD__PKG_NAME__V2_BETA__HTTPTHING__INNER_ONE__INIT;
    core.typed = handler->typed;
    handler->message(NULL, &inner.base, &user);
    assert_ptr_equal(told, &inner);
}

static void an_output_is_a_handler(void **state)
{
    (void)state;
    things_server server;
    memset(&server, 0, sizeof server);
    server.delete_.output_plus_1 = 3;
    const weir_rpc_service *service = things(service_of)(&server);
    assert_int_equal(service->handlers[0].output_plus_1, 3);
    assert_null(service->handlers[0].message);
}

static void a_unary_call_asks_with_its_request(void **state)
{
    (void)state;
    Weird__PkgName__V2Beta__HTTPThing thing = WEIRD__PKG_NAME__V2_BETA__HTTPTHING__INIT;
    static const things(service_2_client) client = { .message = on_thing, .over = on_over };
    weir_rpc_call *call;
    int user;
    assert_int_equal(things(service_2)(NULL, NULL, &thing, &client, &user, &call), WEIR_OK);
    assert_int_equal(core.asked, 1);
    assert_int_equal(core.started, 0);
    assert_ptr_equal(core.message, &thing);
    assert_ptr_equal(core.method, things(service_2_method)());
    assert_ptr_equal(core.user, &user);
    assert_true(core.handler.over == on_over && core.handler.begin == NULL);
    core.handler.message(NULL, &thing.base, NULL);
    assert_ptr_equal(told, &thing);
}

static void a_streaming_call_starts_and_sends(void **state)
{
    (void)state;
    static const weir_rpc_handler zero;
    Weird__PkgName__V2Beta__HTTPThing__InnerOne inner =
        WEIRD__PKG_NAME__V2_BETA__HTTPTHING__INNER_ONE__INIT;
    weir_rpc_call *call;
    assert_int_equal(things(class)(NULL, NULL, NULL, NULL, &call), WEIR_OK);
    assert_int_equal(core.started, 1);
    assert_memory_equal(&core.handler, &zero, sizeof zero);
    assert_int_equal(things(class_client_send)(call, &inner), WEIR_OK);
    assert_int_equal(core.sent, 1);
    assert_ptr_equal(core.message, &inner);
}

static void a_server_replies_or_sends_by_the_kind(void **state)
{
    (void)state;
    Weird__PkgName__V2Beta__HTTPThing thing = WEIRD__PKG_NAME__V2_BETA__HTTPTHING__INIT;
    assert_int_equal(things(class_reply)(NULL, &thing), WEIR_OK);
    assert_int_equal(core.replied, 1);
    assert_int_equal(things(a_send)(NULL, &thing), WEIR_OK);
    assert_int_equal(core.sent, 1);
}

static const weir_rpc_file *import_of(const weir_rpc_file *file, const char *name)
{
    for (size_t i = 0; file->imports[i] != NULL; i++) {
        if (strcmp(file->imports[i]->name, name) == 0) {
            return file->imports[i];
        }
    }
    return NULL;
}

/* Each import of the descriptor has its file, all the way down. */
static void check_file(const weir_rpc_file *file, size_t depth)
{
    assert_in_range(depth, 0, 10);
    Google__Protobuf__FileDescriptorProto *proto =
        google__protobuf__file_descriptor_proto__unpack(NULL, file->n, file->bytes);
    assert_non_null(proto);
    assert_string_equal(proto->name, file->name);
    assert_null(proto->source_code_info);
    for (size_t i = 0; i < proto->n_dependency; i++) {
        const weir_rpc_file *import = import_of(file, proto->dependency[i]);
        assert_non_null(import);
        check_file(import, depth + 1);
    }
    google__protobuf__file_descriptor_proto__free_unpacked(proto, NULL);
}

static void a_file_holds_its_descriptor_and_links_its_imports(void **state)
{
    (void)state;
    assert_ptr_equal(things(service).file, &nasty_proto_file);
    check_file(&nasty_proto_file, 0);
    const weir_rpc_file *options = import_of(&nasty_proto_file, "options.proto");
    assert_ptr_equal(options, &options_proto_file);
    const weir_rpc_file *pb_c = import_of(options, "pb_c.proto");
    assert_non_null(import_of(pb_c, "protobuf-c/protobuf-c.proto"));
    assert_ptr_equal(import_of(&publicly_proto_file, "nothing.proto"), &nothing_proto_file);
}

static void optional_of_proto3_stays_in_the_descriptor_and_has_presence(void **state)
{
    (void)state;
    Google__Protobuf__FileDescriptorProto *proto = google__protobuf__file_descriptor_proto__unpack(
        NULL, nasty_proto_file.n, nasty_proto_file.bytes);
    assert_non_null(proto);
    assert_int_equal(proto->n_service, 3);
    assert_string_equal(proto->message_type[0]->field[5]->name, "maybe");
    assert_true(proto->message_type[0]->field[5]->proto3_optional);
    google__protobuf__file_descriptor_proto__free_unpacked(proto, NULL);
    Weird__PkgName__V2Beta__HTTPThing thing = WEIRD__PKG_NAME__V2_BETA__HTTPTHING__INIT;
    assert_int_equal(thing._maybe_case, WEIRD__PKG_NAME__V2_BETA__HTTPTHING___MAYBE__NOT_SET);
}

static void a_member_that_is_a_keyword_or_taken_has_its_name_everywhere_but_in_c(void **state)
{
    static const char expected[] = "{\"base\":\"b\",\"export\":[7],\"requires\":true}";
    Weird__PkgName__V2Beta__Taken taken = WEIRD__PKG_NAME__V2_BETA__TAKEN__INIT;
    weir_bytes json = { 0 };
    char text[] = "b";
    int32_t seven = 7;
    const char *why = "";
    (void)state;
    taken.base_ = text;
    taken.export_ = &seven;
    taken.n_export = 1;
    taken.concept_case = WEIRD__PKG_NAME__V2_BETA__TAKEN__CONCEPT_REQUIRES;
    taken.requires_ = true;
    assert_int_equal(weir_protobuf_to_json(&taken.base, NULL, &json, &why), WEIR_OK);
    assert_int_equal(json.len, sizeof expected - 1);
    assert_memory_equal(json.at, expected, json.len);
    weir_bytes_done(&json);
}

static bool has_type(const weir_protobuf_types *types, const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < types->n; i++) {
        if (types->types[i] == type) {
            return true;
        }
    }
    return false;
}

static void types_hold_all_messages_but_those_of_maps(void **state)
{
    (void)state;
    assert_int_equal(nasty_proto_types.n, 5);
    assert_true(has_type(&nasty_proto_types,
                         &weird__pkg_name__v2_beta__httpthing__inner_one__innermost__descriptor));
    assert_int_equal(nothing_proto_types.n, 0);
    assert_true(has_type(&google_rpc_error_details_proto_types,
                         &google__rpc__quota_failure__violation__descriptor));
}

/* protobuf-c leaves names out for optimize_for = CODE_SIZE, and JSON could not be made. */
static void descriptors_have_names_whatever_the_file_is_optimized_for(void **state)
{
    (void)state;
    assert_string_equal(weird__pkg_name__distant__descriptor.name, "Weird.pkg_name.Distant");
    assert_string_equal(f_2d_odd_name_v1_proto_types.types[0]->fields[0].name, "must");
}

static void expect_json(const ProtobufCMessage *message, bool proto_names, const char *want)
{
    weir_protobuf_json_options options = { .proto_names = proto_names };
    weir_bytes json = { .bytes_max = SIZE_MAX };
    assert_int_equal(weir_protobuf_to_json(message, &options, &json, NULL), WEIR_OK);
    assert_int_equal(weir_bytes_append(&json, "", 1), WEIR_OK);
    assert_string_equal(json.at, want);
    weir_bytes_done(&json);
}

static weir_status read_thing(const char *json, weir_arena *arena,
                              Weird__PkgName__V2Beta__HTTPThing **ret_thing)
{
    const weir_protobuf_json_options options = { .refuse_unknown = true };
    ProtobufCMessage *message = NULL;
    weir_status status = weir_protobuf_from_json(&weird__pkg_name__v2_beta__httpthing__descriptor,
                                                 json, strlen(json), &options, arena, &message,
                                                 NULL);
    *ret_thing = (Weird__PkgName__V2Beta__HTTPThing *)message;
    return status;
}

static void names_in_json_are_the_protos_own(void **state)
{
    static const char own[] = "{\"inner\":{\"class\":{\"Tiefe\":7}},\"veryOld\":\"x\","
                              "\"it's \\\"odd\\\", \\\\ ?\?/ %s \303\274\":[1,2],\"sameName\":3}";
    static const char as_in_proto[] = "{\"inner\":{\"class\":{\"depth\":7}},\"old\":\"x\","
                                      "\"odd_name\":[1,2],\"same_name\":3}";
    Weird__PkgName__V2Beta__HTTPThing *thing;
    weir_arena arena;
    (void)state;
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    const char *const texts[] = { own, as_in_proto };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_thing(texts[i], &arena, &thing), WEIR_OK);
        assert_string_equal(thing->old, "x");
        assert_int_equal(thing->n_odd_name, 2);
        assert_int_equal(thing->inner->class_->depth, 7);
        expect_json(&thing->base, false, own);
        expect_json(&thing->base, true, as_in_proto);
    }
    assert_int_equal(read_thing("{\"oddName\":[1]}", &arena, &thing), WEIR_EPROTO);
    assert_int_equal(read_thing("{\"old\":\"a\",\"veryOld\":\"b\"}", &arena, &thing), WEIR_EPROTO);
    weir_arena_done(&arena);
}

static void the_standard_services_come_with_weir(void **state)
{
    (void)state;
    assert_string_equal(grpc_health_v1_health_service.name, "grpc.health.v1.Health");
    assert_string_equal(grpc_reflection_v1_server_reflection_service.methods[0].path,
                        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    assert_string_equal(grpc_reflection_v1alpha_server_reflection_service.name,
                        "grpc.reflection.v1alpha.ServerReflection");
    check_file(grpc_health_v1_health_service.file, 0);
    check_file(&google_rpc_error_details_proto_file, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_knows_its_methods),
        cmocka_unit_test(idempotency_comes_from_the_option),
        cmocka_unit_test(a_method_without_handlers_stays_zero),
        cmocka_unit_test_setup(handlers_are_handed_on_and_messages_by_their_type, reset),
        cmocka_unit_test(an_output_is_a_handler),
        cmocka_unit_test_setup(a_unary_call_asks_with_its_request, reset),
        cmocka_unit_test_setup(a_streaming_call_starts_and_sends, reset),
        cmocka_unit_test_setup(a_server_replies_or_sends_by_the_kind, reset),
        cmocka_unit_test(a_file_holds_its_descriptor_and_links_its_imports),
        cmocka_unit_test(optional_of_proto3_stays_in_the_descriptor_and_has_presence),
        cmocka_unit_test(a_member_that_is_a_keyword_or_taken_has_its_name_everywhere_but_in_c),
        cmocka_unit_test(types_hold_all_messages_but_those_of_maps),
        cmocka_unit_test(descriptors_have_names_whatever_the_file_is_optimized_for),
        cmocka_unit_test(names_in_json_are_the_protos_own),
        cmocka_unit_test(the_standard_services_come_with_weir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What stages call to answer: at once on the connection's loop, by parcel from another. */
#include "http_server_internal.h"

#include <string.h>

/* A reply in memory of its own, on its way home. */
struct wi_httpd_parcel {
    weir_http_answer answer;
};

static weir_http_request *request_of(const weir_item *item)
{
    return (weir_http_request *)(uintptr_t)weir_http_request_of(item);
}

static bool is_home(const weir_http_request *request)
{
    return weir_loop_is_here(request->server->loop);
}

/* ---- From another loop ---- */

static char *put(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

static weir_status pack(weir_http_request *request, const weir_http_answer *answer)
{
    size_t type = answer->content_type != NULL ? strlen(answer->content_type) + 1 : 0;
    size_t fields = answer->field_count * sizeof(weir_http1_field), bytes = 0;
    for (size_t i = 0; i < answer->field_count; i++)
        bytes += answer->fields[i].name.len + answer->fields[i].value.len;
    struct wi_httpd_parcel *parcel = weir_memory_resize(
        request->server->env, NULL, sizeof *parcel + fields + bytes + type + answer->body_bytes);
    if (parcel == NULL)
        return WEIR_ENOMEM;
    weir_http1_field *copies = (weir_http1_field *)(parcel + 1);
    char *at = (char *)(copies + answer->field_count);
    parcel->answer = *answer;
    for (size_t i = 0; i < answer->field_count; i++) {
        const weir_http1_field *field = &answer->fields[i];
        copies[i] = (weir_http1_field){ { at, field->name.len },
                                        { at + field->name.len, field->value.len } };
        at = put(at, field->name.at, field->name.len);
        at = put(at, field->value.at, field->value.len);
    }
    parcel->answer.fields = copies;
    if (type > 0)
        parcel->answer.content_type = at;
    at = put(at, answer->content_type, type);
    parcel->answer.body = at;
    (void)put(at, answer->body, answer->body_bytes);
    request->parcel = parcel;
    return WEIR_OK;
}

/* The head is only written at home, too late to say that it can't be. */
static bool can_be_sent(const weir_http_answer *answer)
{
    char trial[1024];
    size_t len;
    weir_http1_response head = {
        .status = (unsigned)(answer->status != 0 ? answer->status : 200),
        .fields = answer->fields,
        .field_count = answer->field_count,
    };
    if (answer->content_type != NULL)
        head.content_type = (weir_http1_span){ answer->content_type, strlen(answer->content_type) };
    for (size_t i = 0; i < answer->field_count; i++)
        if (weir_http1_span_is(answer->fields[i].name, "date"))
            return false;
    return weir_http1_write_response_head(&head, trial, sizeof trial, &len) != WEIR_EINVAL;
}

bool wi_httpd_parcel_send(weir_http_request *request)
{
    wi_httpd_place place = wi_httpd_place_of(request);
    weir_status status = wi_httpd_answer(request->conn, &place, &request->parcel->answer);
    return status == WEIR_OK || status == WEIR_ECLOSED;
}

void wi_httpd_parcel_free(weir_http_request *request)
{
    weir_memory_free(request->server->env, request->parcel);
    request->parcel = NULL;
}

/* ---- Whole replies ---- */

static bool is_sane(const weir_http_answer *answer)
{
    return (answer->status == 0 || (answer->status >= 200 && answer->status <= 599)) &&
           (answer->body != NULL || answer->body_bytes == 0) &&
           (answer->fields != NULL || answer->field_count == 0) && answer->body_bytes < INT32_MAX;
}

weir_status weir_http_answer_with(weir_item *item, const weir_http_answer *answer)
{
    weir_http_request *request = request_of(item);
    if (request == NULL || answer == NULL || !is_sane(answer))
        return WEIR_EINVAL;
    if (!wi_httpd_claim(request, WI_HTTPD_ANSWERED))
        return WEIR_EEXIST;
    weir_status status = WEIR_ECLOSED;
    if (!is_home(request)) {
        status = can_be_sent(answer) ? pack(request, answer) : WEIR_EINVAL;
    } else if (request->conn != NULL) {
        wi_httpd_place place = wi_httpd_place_of(request);
        status = wi_httpd_answer(request->conn, &place, answer);
    }
    if (status != WEIR_OK && status != WEIR_ECLOSED)
        wi_httpd_set_answered(request, WI_HTTPD_UNANSWERED);
    return status;
}

weir_status weir_http_reply(weir_item *item, int status, const char *content_type, const void *body,
                            size_t body_bytes)
{
    return weir_http_answer_with(item, &(weir_http_answer){ .status = status,
                                                            .content_type = content_type,
                                                            .body = body,
                                                            .body_bytes = body_bytes });
}

bool weir_http_is_answered(const weir_item *item)
{
    const weir_http_request *request = weir_http_request_of(item);
    return request != NULL && wi_httpd_answered(request) != WI_HTTPD_UNANSWERED;
}

/* ---- Replies in pieces ---- */

weir_status weir_http_reply_begin(weir_item *item, const weir_http_answer *answer)
{
    weir_http_request *request = request_of(item);
    if (request == NULL || answer == NULL || !is_sane(answer) || answer->status == 204 ||
        answer->status == 304)
        return WEIR_EINVAL;
    if (!is_home(request))
        return WEIR_EUNSUPPORTED;
    if (wi_httpd_answered(request) != WI_HTTPD_UNANSWERED)
        return WEIR_EEXIST;
    if (request->conn == NULL)
        return WEIR_ECLOSED;
    wi_httpd_place place = wi_httpd_place_of(request);
    weir_http_answer head = *answer;
    head.body = NULL;
    head.body_bytes = 0;
    place.streams = true;
    weir_status status = wi_httpd_answer(request->conn, &place, &head);
    if (status != WEIR_OK)
        return status;
    wi_httpd_set_answered(request, WI_HTTPD_STREAMING);
    request->cut_body = request->to_close || answer->close;
    return answer->body_bytes > 0 ? weir_http_reply_chunk(item, answer->body, answer->body_bytes)
                                  : WEIR_OK;
}

static weir_status streaming(const weir_http_request *request)
{
    if (request == NULL || wi_httpd_answered(request) != WI_HTTPD_STREAMING || !is_home(request))
        return WEIR_EINVAL;
    return request->conn == NULL || request->conn->closes ? WEIR_ECLOSED : WEIR_OK;
}

weir_status weir_http_reply_chunk(weir_item *item, const void *bytes, size_t n)
{
    weir_http_request *request = request_of(item);
    weir_status status = streaming(request);
    if (status != WEIR_OK || n == 0 || request->method == WEIR_HTTP1_HEAD)
        return status;
    if (n > INT32_MAX / 2)
        return WEIR_EINVAL;
    if (weir_http_reply_room(item) == 0)
        return WEIR_EAGAIN;
    return wi_httpd_stream_put(request, bytes, n);
}

weir_status weir_http_reply_end(weir_item *item)
{
    weir_http_request *request = request_of(item);
    weir_status status = streaming(request);
    return status == WEIR_OK ? wi_httpd_stream_end(request) : status;
}

size_t weir_http_reply_room(const weir_item *item)
{
    const weir_http_request *request = weir_http_request_of(item);
    if (request == NULL || !is_home(request) || request->conn == NULL)
        return 0;
    const wi_httpd_conn *conn = request->conn;
    size_t most = conn->server->config.reply_bytes_max;
    size_t used = (size_t)wi_httpd_buffered(&conn->out) + conn->held_bytes;
    return used < most ? most - used : 0;
}

weir_status weir_http_reply_on_room(weir_item *item, void (*has_room)(weir_item *item, void *user),
                                    void *user)
{
    weir_http_request *request = request_of(item);
    weir_status status = streaming(request);
    if (status != WEIR_OK)
        return status;
    request->has_room = has_room;
    request->has_room_user = user;
    wi_httpd_dirty(request->conn);
    return WEIR_OK;
}

void wi_httpd_tell_room(wi_httpd_conn *conn)
{
    for (weir_http_request *at = conn->requests, *next; at != NULL; at = next) {
        void (*has_room)(weir_item *, void *) = at->has_room;
        next = at->next;
        if (has_room == NULL || weir_http_reply_room(at->item) == 0)
            continue;
        at->has_room = NULL;
        has_room(at->item, at->has_room_user);
        if (conn->fd < 0)
            return;
    }
}

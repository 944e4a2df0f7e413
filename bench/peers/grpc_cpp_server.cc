// gRPC C++ by its callback API, serving streams.v1.Streams, to measure against. The caller pins it to a core.
#include <grpcpp/alarm.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/message_allocator.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "streams/v1/streams.grpc.pb.h"

namespace
{
using streams::v1::CollectResponse;
using streams::v1::Data;
using streams::v1::ProcessRequest;
using streams::v1::ProcessResponse;
using streams::v1::StreamDataRequest;

enum class Writes { single, batched };

constexpr uint32_t payload_bytes_default = 92;

// Request and response of a unary call in one arena, as gRPC's own benchmarks do.
class ArenaMessages : public grpc::MessageHolder<ProcessRequest, ProcessResponse>
{
  public:
    ArenaMessages()
    {
        set_request(google::protobuf::Arena::CreateMessage<ProcessRequest>(&arena_));
        set_response(google::protobuf::Arena::CreateMessage<ProcessResponse>(&arena_));
    }
    void Release() override
    {
        delete this;
    }

  private:
    google::protobuf::Arena arena_;
};

class ArenaAllocator : public grpc::MessageAllocator<ProcessRequest, ProcessResponse>
{
  public:
    grpc::MessageHolder<ProcessRequest, ProcessResponse> *AllocateMessages() override
    {
        return new ArenaMessages;
    }
};

// Answers when an alarm rings. The alarm keeps the call alive until then.
class Delay
{
  public:
    static void Start(grpc::ServerUnaryReactor *reactor, const ProcessRequest *request, ProcessResponse *response)
    {
        Delay *delay = new Delay;
        auto when = std::chrono::system_clock::now() + std::chrono::milliseconds(request->delay_ms());
        delay->alarm_.Set(when, [delay, reactor, request, response](bool) {
            response->set_text(request->text());
            reactor->Finish(grpc::Status::OK);
            delete delay;
        });
    }

  private:
    grpc::Alarm alarm_;
};

// Writes one message after the other; `batched` lets gRPC keep them back until it has many.
class StreamWriter : public grpc::ServerWriteReactor<Data>
{
  public:
    StreamWriter(const StreamDataRequest &request, Writes writes) : count_(request.count())
    {
        if (writes == Writes::batched)
            options_.set_buffer_hint();
        uint32_t bytes = request.payload_bytes() != 0 ? request.payload_bytes() : payload_bytes_default;
        message_ = google::protobuf::Arena::CreateMessage<Data>(&arena_);
        message_->set_payload(std::string(bytes, 'x'));
        StartSendInitialMetadata(); // a first write that may be kept back would keep this back for ever
    }
    void OnSendInitialMetadataDone(bool ok) override
    {
        OnWriteDone(ok);
    }
    void OnWriteDone(bool ok) override
    {
        if (ok)
            NextWrite();
        else
            Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the reader has gone"));
    }
    void OnDone() override
    {
        delete this;
    }

  private:
    void NextWrite()
    {
        if (sent_ == count_) {
            Finish(grpc::Status::OK);
            return;
        }
        message_->set_sequence(sent_++);
        StartWrite(message_, options_);
    }

    google::protobuf::Arena arena_;
    Data *message_;
    grpc::WriteOptions options_;
    uint64_t count_;
    uint64_t sent_ = 0;
};

class EchoReactor : public grpc::ServerBidiReactor<Data, Data>
{
  public:
    EchoReactor()
    {
        message_ = google::protobuf::Arena::CreateMessage<Data>(&arena_);
        StartRead(message_);
    }
    void OnReadDone(bool ok) override
    {
        if (ok)
            StartWrite(message_);
        else
            Finish(grpc::Status::OK);
    }
    void OnWriteDone(bool ok) override
    {
        if (ok)
            StartRead(message_);
        else
            Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the reader has gone"));
    }
    void OnDone() override
    {
        delete this;
    }

  private:
    google::protobuf::Arena arena_;
    Data *message_;
};

class CollectReactor : public grpc::ServerReadReactor<Data>
{
  public:
    explicit CollectReactor(CollectResponse *response) : response_(response)
    {
        StartRead(&message_);
    }
    void OnReadDone(bool ok) override
    {
        if (!ok) {
            Finish(grpc::Status::OK);
            return;
        }
        response_->set_messages(response_->messages() + 1);
        response_->set_bytes(response_->bytes() + message_.payload().size());
        StartRead(&message_);
    }
    void OnDone() override
    {
        delete this;
    }

  private:
    CollectResponse *response_;
    Data message_;
};

class Streams final : public streams::v1::Streams::CallbackService
{
  public:
    explicit Streams(Writes writes) : writes_(writes)
    {
        SetMessageAllocatorFor_Process(&allocator_);
    }

  private:
    grpc::ServerUnaryReactor *Process(grpc::CallbackServerContext *context, const ProcessRequest *request,
                                      ProcessResponse *response) override
    {
        grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
        // What clients send to see it back, for the tests of metadata.
        for (const auto &field : context->client_metadata())
            if (field.first.starts_with("echo-"))
                context->AddInitialMetadata(std::string(field.first.data(), field.first.size()),
                                            std::string(field.second.data(), field.second.size()));
        if (request->fail_with() != 0)
            reactor->Finish(grpc::Status(static_cast<grpc::StatusCode>(request->fail_with()), request->text()));
        else if (request->delay_ms() != 0)
            Delay::Start(reactor, request, response);
        else {
            response->set_text(request->text());
            reactor->Finish(grpc::Status::OK);
        }
        return reactor;
    }
    grpc::ServerWriteReactor<Data> *StreamData(grpc::CallbackServerContext *, const StreamDataRequest *request) override
    {
        return new StreamWriter(*request, writes_);
    }
    grpc::ServerReadReactor<Data> *Collect(grpc::CallbackServerContext *, CollectResponse *response) override
    {
        return new CollectReactor(response);
    }
    grpc::ServerBidiReactor<Data, Data> *Echo(grpc::CallbackServerContext *) override
    {
        return new EchoReactor;
    }

    Writes writes_;
    ArenaAllocator allocator_;
};
} // namespace

int main(int argc, char **argv)
{
    std::string listen = "127.0.0.1:9000";
    Writes writes = Writes::single;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--listen") == 0 && i + 1 < argc) {
            listen = argv[++i];
        } else if (strcmp(argv[i], "--batched") == 0) {
            writes = Writes::batched;
        } else {
            fprintf(stderr, "grpc_cpp_server [--listen HOST:PORT] [--batched]: streams.v1.Streams on gRPC C++\n"
                            "--batched: StreamData leaves it to gRPC when to write\n");
            return 2;
        }
    }
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    Streams service(writes);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials());
    builder.RegisterService(&service);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (server == nullptr) {
        fprintf(stderr, "grpc_cpp_server: cannot listen on %s\n", listen.c_str());
        return 1;
    }
    server->Wait();
    return 0;
}

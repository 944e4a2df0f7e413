// Packs and unpacks the same messages by protobuf C++: on the heap, in an arena whose memory is
// used again, and into a message that is used again.
#include "../protobuf_shapes.h"

#include <google/protobuf/arena.h>

#include "orders/v1/orders.pb.h"
#include "shapes.pb.h"

#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

namespace
{
double cpu_ns()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

template <class F> double each(unsigned times, F run)
{
    double start = cpu_ns();
    for (unsigned i = 0; i < times; i++)
        run();
    return (cpu_ns() - start) / times;
}

void require(bool fine)
{
    if (!fine)
        abort();
}

uint8_t out[32768];
alignas(8) char block[65536];

enum { HEAP, ARENA, REUSED, PACK, WAYS };
const char *const ways[WAYS] = { "cpp_heap_unpack", "cpp_arena_unpack", "cpp_reused_unpack",
                                 "cpp_pack" };

template <class Message> struct Shape {
    wire packed = {};
    std::vector<double> ns[WAYS];
    Message message;

    explicit Shape(void (*make)(wire *))
    {
        make(&packed);
        require(message.ParseFromArray(packed.bytes, static_cast<int>(packed.n)));
        require(message.ByteSizeLong() == packed.n);
    }
    void round(unsigned work)
    {
        unsigned times = work / static_cast<unsigned>(packed.n);
        int n = static_cast<int>(packed.n);
        ns[HEAP].push_back(each(times, [&] {
            Message fresh;
            require(fresh.ParseFromArray(packed.bytes, n));
        }));
        google::protobuf::ArenaOptions options;
        options.initial_block = block;
        options.initial_block_size = sizeof block;
        google::protobuf::Arena arena(options);
        ns[ARENA].push_back(each(times, [&] {
            auto *fresh = google::protobuf::Arena::CreateMessage<Message>(&arena);
            require(fresh->ParseFromArray(packed.bytes, n));
            arena.Reset();
        }));
        Message again;
        ns[REUSED].push_back(each(times, [&] { require(again.ParseFromArray(packed.bytes, n)); }));
        ns[PACK].push_back(each(times, [&] {
            require(message.SerializeToArray(out, sizeof out) && message.GetCachedSize() == n);
        }));
    }
    void print(const char *name)
    {
        for (int way = 0; way < WAYS; way++) {
            std::sort(ns[way].begin(), ns[way].end());
            printf("%s_%s=%.1f ns\n", ways[way], name, ns[way][ns[way].size() / 2]);
        }
    }
};
} // namespace

int main(int argc, char **argv)
{
    bool quick = argc > 1 && std::string(argv[1]) == "--quick";
    Shape<orders::v1::Order> order(shape_order);
    Shape<shapes::Blob> blob(shape_blob);
    Shape<shapes::Node> nested(shape_nested);
    Shape<shapes::Numbers> numbers(shape_numbers);
    Shape<shapes::Texts> texts(shape_texts);
    for (int round = 0; round < (quick ? 3 : 9); round++) {
        unsigned work = quick ? 1000000 : 10000000;
        order.round(work);
        blob.round(work);
        nested.round(work);
        numbers.round(work);
        texts.round(work);
    }
    order.print("order");
    blob.print("blob");
    nested.print("nested");
    numbers.print("numbers");
    texts.print("texts");
    return 0;
}

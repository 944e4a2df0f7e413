// Writes and reads the JSON of the same messages by protobuf C++, into a string and a message that
// are used again.
#include "../protobuf_shapes.h"

#include <google/protobuf/util/json_util.h>

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

template <class Message> struct Shape {
    Message message;
    std::string text;
    std::vector<double> to, from;

    explicit Shape(void (*make)(wire *))
    {
        wire packed = {};
        make(&packed);
        require(message.ParseFromArray(packed.bytes, static_cast<int>(packed.n)));
        require(google::protobuf::util::MessageToJsonString(message, &text).ok());
    }
    void round(unsigned work)
    {
        unsigned times = work / static_cast<unsigned>(text.size());
        std::string out;
        Message again;
        to.push_back(each(times, [&] {
            out.clear();
            require(google::protobuf::util::MessageToJsonString(message, &out).ok());
        }));
        from.push_back(each(times, [&] {
            again.Clear();
            require(google::protobuf::util::JsonStringToMessage(text, &again).ok());
        }));
    }
    void print(const char *name)
    {
        std::sort(to.begin(), to.end());
        std::sort(from.begin(), from.end());
        printf("cpp_to_json_%s=%.1f ns\n", name, to[to.size() / 2]);
        printf("cpp_from_json_%s=%.1f ns\n", name, from[from.size() / 2]);
    }
};
} // namespace

int main(int argc, char **argv)
{
    bool quick = argc > 1 && std::string(argv[1]) == "--quick";
    Shape<orders::v1::Order> order(shape_order);
    Shape<shapes::Node> nested(shape_nested);
    for (int round = 0; round < (quick ? 3 : 9); round++) {
        unsigned work = quick ? 1000000 : 10000000;
        order.round(work);
        nested.round(work);
    }
    order.print("order");
    nested.print("nested");
    return 0;
}

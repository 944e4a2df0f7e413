/* The same as outside.c, as C++ users write it: nothing but C++11 and the umbrella header. */
#include <weir/weir.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

constexpr std::uint64_t kCount = 1000;

struct Count {
    std::uint64_t next;
};

void count_on_demand(weir_stage *stage, weir_out *out, std::uint64_t credit, void *state)
{
    auto *count = static_cast<Count *>(state);
    for (; credit > 0 && count->next < kCount; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), nullptr, sizeof count->next);
        if (item == nullptr) {
            weir_stage_fail(stage, WEIR_ENOMEM, "no memory for an item");
            return;
        }
        std::memcpy(weir_item_body(item), &count->next, sizeof count->next);
        count->next++;
        weir_emit(out, item);
    }
    if (count->next == kCount)
        weir_end(out);
}

struct SumConfig {
    std::uint64_t *total;
};

weir_status sum_open(weir_stage *stage, const void *, void *)
{
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

weir_status sum_on_item(weir_stage *stage, weir_in *, weir_item *item, void *)
{
    std::uint64_t value = 0;
    std::memcpy(&value, weir_item_body(item), sizeof value);
    *static_cast<const SumConfig *>(weir_stage_config(stage))->total += value;
    weir_item_ack(item);
    return WEIR_OK;
}

} // namespace

int main()
{
    weir_stage_type count_type = weir_stage_type();
    count_type.name = "count";
    count_type.state_size = sizeof(Count);
    count_type.inputs = WEIR_PORTS_NONE;
    count_type.on_demand = count_on_demand;
    weir_stage_type sum_type = weir_stage_type();
    sum_type.name = "sum";
    sum_type.config_size = sizeof(SumConfig);
    sum_type.outputs = WEIR_PORTS_NONE;
    sum_type.open = sum_open;
    sum_type.on_item = sum_on_item;

    std::uint64_t total = 0;
    SumConfig sum_config = { &total };
    weir_pipeline_config config = weir_pipeline_config();
    config.loops = 1;
    weir_pipeline *p = weir_pipeline_new(&config);
    weir_from(p, weir_stage_of(&count_type, nullptr));
    weir_into(p, weir_stage_of(&sum_type, &sum_config));
    weir_status status = weir_run(p);
    if (status != WEIR_OK)
        std::fprintf(stderr, "outside: %s\n", weir_pipeline_why(p));
    weir_pipeline_free(p);
    std::printf("weir %s: %llu\n", weir_version(), static_cast<unsigned long long>(total));
    return status == WEIR_OK && total == kCount * (kCount - 1) / 2 ? 0 : 1;
}

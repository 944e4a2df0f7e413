// The operators of Reactor and resilience4j that weir's stages stand beside, on one thread, as
// nanoseconds per item. Demand is bounded, as it is in weir: every stream is asked for 256 at a time.
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.github.resilience4j.retry.Retry;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import java.util.function.Supplier;
import org.reactivestreams.Subscription;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;

public final class Operators {
    private static final int WINDOW = 256;
    private static final int KEYS = 8;

    private static final class Sum<T> extends BaseSubscriber<T> {
        final CountDownLatch done = new CountDownLatch(1);
        final Function<T, Long> value;
        long sum;
        int left = WINDOW / 2;

        Sum(Function<T, Long> value) {
            this.value = value;
        }

        @Override
        protected void hookOnSubscribe(Subscription subscription) {
            request(WINDOW);
        }

        @Override
        protected void hookOnNext(T item) {
            sum += value.apply(item);
            if (--left == 0) {
                left = WINDOW / 2;
                request(WINDOW / 2);
            }
        }

        @Override
        protected void hookOnComplete() {
            done.countDown();
        }

        @Override
        protected void hookOnError(Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
    }

    private static Flux<Long> source(int count) {
        return Flux.range(0, count).map(i -> (long) i);
    }

    /** Two items of each. */
    private static Flux<Long> flatMap(int count) {
        return source(count / 2).flatMap(i -> Flux.just(2 * i, 2 * i + 1), WINDOW);
    }

    private static Flux<Long> flatMapIterable(int count) {
        return source(count / 2).flatMapIterable(i -> List.of(2 * i, 2 * i + 1), WINDOW);
    }

    private static Flux<Long> partition(int count) {
        return source(count).groupBy(i -> i % KEYS).flatMap(group -> group, KEYS);
    }

    private static Flux<Long> mergePriority(int count) {
        Flux<Long> even = source(count / 2).map(i -> 2 * i);
        Flux<Long> odd = source(count / 2).map(i -> 2 * i + 1);
        return Flux.mergePriority(WINDOW, (a, b) -> Long.compare(a & 1, b & 1), even, odd);
    }

    private static Flux<Long> merge(int count) {
        Flux<Long> even = source(count / 2).map(i -> 2 * i);
        return Flux.merge(even, source(count / 2).map(i -> 2 * i + 1));
    }

    private static Flux<Long> retry(int count) {
        Retry retry = Retry.ofDefaults("bench");
        return source(count).map(i -> {
            Supplier<Long> call = () -> i;
            return retry.executeSupplier(call);
        });
    }

    private static Flux<Long> breaker(int count) {
        CircuitBreaker breaker =
            CircuitBreaker.of("bench", CircuitBreakerConfig.custom().slidingWindowSize(100).build());
        return source(count).map(i -> breaker.executeSupplier(() -> i));
    }

    private static <T> long run(Flux<T> stream, Function<T, Long> value) throws Exception {
        Sum<T> sum = new Sum<>(value);
        stream.subscribe(sum);
        sum.done.await();
        return sum.sum;
    }

    private static <T> void measure(String name, int count, Function<Integer, Flux<T>> stream,
                                    Function<T, Long> value) throws Exception {
        for (int i = 0; i < 3; i++) {
            run(stream.apply(count / 4 * 2), value); // for the compiler
        }
        long start = System.nanoTime();
        long sum = run(stream.apply(count), value);
        long spent = System.nanoTime() - start;
        if (sum != (long) count * (count - 1) / 2) {
            System.err.println(name + ": wrong sum");
            System.exit(1);
        }
        System.out.printf("reactor_%s=%.2f ns%n", name, (double) spent / count);
    }

    public static void main(String[] args) throws Exception {
        int count = args.length == 1 ? Integer.parseInt(args[0]) : 2000000;
        Function<Long, Long> one = i -> i;
        measure("map", count, Operators::source, one);
        measure("flat_map", count, Operators::flatMap, one);
        measure("flat_map_iterable", count, Operators::flatMapIterable, one);
        measure("partition", count, Operators::partition, one);
        measure("batch", count, n -> source(n).buffer(64), list -> {
            long sum = 0;
            for (Long i : list) {
                sum += i;
            }
            return sum;
        });
        measure("merge", count, Operators::merge, one);
        measure("merge_priority", count, Operators::mergePriority, one);
        measure("retry", count, Operators::retry, one);
        measure("breaker", count, Operators::breaker, one);
    }
}

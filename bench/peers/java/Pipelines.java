// The documents' int pipelines on the JDK alone, as nanoseconds per item: one thread per stage and
// ArrayBlockingQueue between them, and java.util.concurrent.Flow with SubmissionPublisher.
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Flow;
import java.util.concurrent.SubmissionPublisher;

public final class Pipelines {
    private static final Long END = -1L;

    private interface Run {
        long items(int count) throws Exception;
    }

    private static void daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        thread.start();
    }

    private static void put(ArrayBlockingQueue<Long> to, Long value) {
        try {
            to.put(value);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static Long take(ArrayBlockingQueue<Long> from) {
        try {
            return from.take();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void multiply(ArrayBlockingQueue<Long> from, ArrayBlockingQueue<Long> to) {
        for (Long v; (v = take(from)) != END; ) {
            put(to, v * 3);
        }
        put(to, END);
    }

    private static long queues(int count, int stages, int buffer) {
        ArrayBlockingQueue<Long> first = new ArrayBlockingQueue<>(buffer);
        daemon(() -> {
            for (long i = 0; i < count; i++) {
                put(first, i);
            }
            put(first, END);
        });
        ArrayBlockingQueue<Long> at = first;
        for (int s = 0; s < stages - 2; s++) {
            ArrayBlockingQueue<Long> from = at;
            ArrayBlockingQueue<Long> to = new ArrayBlockingQueue<>(buffer);
            daemon(() -> multiply(from, to));
            at = to;
        }
        long sum = 0;
        for (Long v; (v = take(at)) != END; ) {
            sum += v;
        }
        return sum;
    }

    /** Asks for half a window at a time, as the back-pressure of Flow is meant to be used. */
    private abstract static class Stage implements Flow.Subscriber<Long> {
        private final int half;
        private int left;
        private Flow.Subscription subscription;

        Stage(int buffer) {
            half = Math.max(1, buffer / 2);
        }

        abstract void item(long value);

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription = given;
            left = half;
            subscription.request(2L * half);
        }

        @Override
        public void onNext(Long value) {
            item(value);
            if (--left == 0) {
                left = half;
                subscription.request(half);
            }
        }

        @Override
        public void onError(Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
    }

    private static final class Multiply extends Stage {
        final SubmissionPublisher<Long> out;

        Multiply(Executor executor, int buffer) {
            super(buffer);
            out = new SubmissionPublisher<>(executor, buffer);
        }

        @Override
        void item(long value) {
            out.submit(value * 3);
        }

        @Override
        public void onComplete() {
            out.close();
        }
    }

    private static final class Sum extends Stage {
        final CountDownLatch done = new CountDownLatch(1);
        long sum;

        Sum(int buffer) {
            super(buffer);
        }

        @Override
        void item(long value) {
            sum += value;
        }

        @Override
        public void onComplete() {
            done.countDown();
        }
    }

    private static long flow(int count, int stages, int buffer) throws InterruptedException {
        // submit() blocks when the window is full, so each stage needs a thread to block.
        ExecutorService executor = Executors.newFixedThreadPool(stages);
        SubmissionPublisher<Long> first = new SubmissionPublisher<>(executor, buffer);
        SubmissionPublisher<Long> at = first;
        for (int s = 0; s < stages - 2; s++) {
            Multiply next = new Multiply(executor, buffer);
            at.subscribe(next);
            at = next.out;
        }
        Sum last = new Sum(buffer);
        at.subscribe(last);
        for (long i = 0; i < count; i++) {
            first.submit(i);
        }
        first.close();
        last.done.await();
        executor.shutdown();
        return last.sum;
    }

    private static void measure(String name, int count, long factor, Run run) throws Exception {
        run.items(count / 4); // for the compiler
        long start = System.nanoTime();
        long sum = run.items(count);
        long spent = System.nanoTime() - start;
        if (sum != (long) count * (count - 1) / 2 * factor) {
            System.err.println(name + ": wrong sum");
            System.exit(1);
        }
        System.out.printf("%s=%.2f ns%n", name, (double) spent / count);
    }

    public static void main(String[] args) throws Exception {
        int count = args.length == 1 ? Integer.parseInt(args[0]) : 1000000;
        measure("java_queue_pipeline3", count, 3, n -> queues(n, 3, 64));
        measure("java_queue_pipeline5", count, 27, n -> queues(n, 5, 100));
        measure("java_flow_pipeline3", count, 3, n -> flow(n, 3, 64));
        measure("java_flow_pipeline5", count, 27, n -> flow(n, 5, 128));
    }
}

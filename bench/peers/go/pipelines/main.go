// The documents' int pipelines and fan-out on Go channels, as nanoseconds per item.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

type stage func(context.Context, <-chan int) <-chan int

func source(ctx context.Context, count, buffer int) <-chan int {
	out := make(chan int, buffer)
	go func() {
		defer close(out)
		for i := 0; i < count; i++ {
			select {
			case <-ctx.Done():
				return
			case out <- i:
			}
		}
	}()
	return out
}

func multiply(factor, buffer int) stage {
	return func(ctx context.Context, in <-chan int) <-chan int {
		out := make(chan int, buffer)
		go func() {
			defer close(out)
			for v := range in {
				select {
				case <-ctx.Done():
					return
				case out <- v * factor:
				}
			}
		}()
		return out
	}
}

func sink(ctx context.Context, in <-chan int) int {
	sum := 0
	for v := range in {
		select {
		case <-ctx.Done():
			return 0
		default:
			sum += v
		}
	}
	return sum
}

// chain runs source, `stages`-2 multiplications and the sink.
func chain(count, stages, buffer int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	at := source(ctx, count, buffer)
	for i := 0; i < stages-2; i++ {
		at = multiply(3, buffer)(ctx, at)
	}
	return sink(ctx, at)
}

// fanOut spreads the source over workers and merges their results.
func fanOut(count, workers, buffer int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	jobs := source(ctx, count, buffer)
	results := make(chan int, buffer)
	var wg sync.WaitGroup
	wg.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			defer wg.Done()
			for j := range jobs {
				select {
				case <-ctx.Done():
					return
				case results <- j * 3:
				}
			}
		}()
	}
	go func() {
		wg.Wait()
		close(results)
	}()
	return sink(ctx, results)
}

// The same without a context to watch: what bare channels cost. No server could be stopped this way,
// but a rival should be measured at its best.

func bareSource(count, buffer int) <-chan int {
	out := make(chan int, buffer)
	go func() {
		defer close(out)
		for i := 0; i < count; i++ {
			out <- i
		}
	}()
	return out
}

func bareMultiply(factor, buffer int, in <-chan int) <-chan int {
	out := make(chan int, buffer)
	go func() {
		defer close(out)
		for v := range in {
			out <- v * factor
		}
	}()
	return out
}

func bareSink(in <-chan int) int {
	sum := 0
	for v := range in {
		sum += v
	}
	return sum
}

func bareChain(count, stages, buffer int) int {
	at := bareSource(count, buffer)
	for i := 0; i < stages-2; i++ {
		at = bareMultiply(3, buffer, at)
	}
	return bareSink(at)
}

func bareFanOut(count, workers, buffer int) int {
	jobs := bareSource(count, buffer)
	results := make(chan int, buffer)
	var wg sync.WaitGroup
	wg.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			defer wg.Done()
			for j := range jobs {
				results <- j * 3
			}
		}()
	}
	go func() {
		wg.Wait()
		close(results)
	}()
	return bareSink(results)
}

func measure(name string, count int, run func(int) int, want int) {
	run(count / 10)
	start := time.Now()
	sum := run(count)
	spent := time.Since(start)
	if sum != want {
		fmt.Fprintf(os.Stderr, "%s: wrong sum %d, expected %d\n", name, sum, want)
		os.Exit(1)
	}
	fmt.Printf("%s=%.2f ns\n", name, float64(spent.Nanoseconds())/float64(count))
}

func main() {
	count := flag.Int("items", 2000000, "items per run")
	flag.Parse()
	n := *count
	sum := n * (n - 1) / 2
	for procs := 1; procs <= 2; procs++ {
		runtime.GOMAXPROCS(procs)
		suffix := fmt.Sprintf("_%dproc", procs)
		measure("go_pipeline3"+suffix, n, func(c int) int { return chain(c, 3, 64) }, sum*3)
		measure("go_pipeline5"+suffix, n, func(c int) int { return chain(c, 5, 100) }, sum*27)
		measure("go_fanout4"+suffix, n, func(c int) int { return fanOut(c, 4, 64) }, sum*3)
		measure("go_bare_pipeline3"+suffix, n, func(c int) int { return bareChain(c, 3, 64) }, sum*3)
		measure("go_bare_pipeline5"+suffix, n, func(c int) int { return bareChain(c, 5, 100) }, sum*27)
		measure("go_bare_fanout4"+suffix, n, func(c int) int { return bareFanOut(c, 4, 64) }, sum*3)
	}
}

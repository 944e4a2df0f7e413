// The documents' order service on net/http, its stages doing no I/O: pipeline, pool or one handler.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Order is the payload flowing through the pipeline.
type Order struct {
	ID       string
	Amount   float64
	Currency string
}

const (
	bufferSize        = 100
	inboundSize       = 200
	enrichmentWorkers = 8
	poolWorkers       = 10
)

func validate(o Order) error {
	if o.ID == "" {
		return errors.New("missing order ID")
	}
	if o.Amount <= 0 {
		return errors.New("invalid amount")
	}
	return nil
}

func validated(_ context.Context, o Order) (Order, error) { return o, validate(o) }

func enrich(_ context.Context, o Order) (Order, error) {
	o.Amount *= 1.05
	return o, nil
}

func nothing(_ context.Context, o Order) (Order, error) { return o, nil }

type work func(context.Context, Order) (Order, error)

// stage runs fn in `workers` goroutines behind a bounded channel.
func stage(ctx context.Context, workers int, fn work, in <-chan Order) <-chan Order {
	out := make(chan Order, bufferSize)
	var wg sync.WaitGroup
	wg.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			defer wg.Done()
			for {
				select {
				case <-ctx.Done():
					return
				case order, ok := <-in:
					if !ok {
						return
					}
					if next, err := fn(ctx, order); err == nil {
						out <- next
					}
				}
			}
		}()
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}

func discard(in <-chan Order) {
	for range in {
	}
}

func startPipeline(ctx context.Context) chan<- Order {
	inbound := make(chan Order, inboundSize)
	v := stage(ctx, 1, validated, inbound)
	e := stage(ctx, enrichmentWorkers, enrich, v)
	p := stage(ctx, 1, nothing, e)
	go discard(stage(ctx, 1, nothing, p))
	return inbound
}

func allAtOnce(ctx context.Context, o Order) (Order, error) {
	if err := validate(o); err != nil {
		return o, err
	}
	o, err := enrich(ctx, o)
	if err != nil {
		return o, err
	}
	if o, err = nothing(ctx, o); err != nil {
		return o, err
	}
	return nothing(ctx, o)
}

func startPool(ctx context.Context) chan<- Order {
	inbound := make(chan Order, inboundSize)
	go discard(stage(ctx, poolWorkers, allAtOnce, inbound))
	return inbound
}

func decode(w http.ResponseWriter, r *http.Request) (Order, bool) {
	var order Order
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		http.Error(w, "invalid payload", http.StatusBadRequest)
		return order, false
	}
	return order, true
}

func queueing(inbound chan<- Order) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		order, ok := decode(w, r)
		if !ok {
			return
		}
		select {
		case inbound <- order:
			w.WriteHeader(http.StatusAccepted)
			w.Write([]byte(`{"status":"queued"}`))
		case <-ctx.Done():
			http.Error(w, "service overloaded", http.StatusServiceUnavailable)
		}
	}
}

func oneHandler(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	order, ok := decode(w, r)
	if !ok {
		return
	}
	if _, err := allAtOnce(ctx, order); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	w.Write([]byte(`{"status":"queued"}`))
}

func plain(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusCreated)
	w.Write([]byte(`{"status":"stored"}`))
}

func main() {
	port := flag.Int("port", 0, "port on 127.0.0.1, 0 for a free one")
	mode := flag.String("mode", "pipeline", "pipeline, pool, handler or plain (no decoding at all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var handler http.HandlerFunc
	switch *mode {
	case "pipeline":
		handler = queueing(startPipeline(ctx))
	case "pool":
		handler = queueing(startPool(ctx))
	case "handler":
		handler = oneHandler
	case "plain":
		handler = plain
	default:
		fmt.Fprintf(os.Stderr, "no such mode: %s\n", *mode)
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", handler)
	srv := &http.Server{Handler: mux}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(listener); err != nil && err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

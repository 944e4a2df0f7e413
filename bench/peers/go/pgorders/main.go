// The documents' order service with a real PostgreSQL behind it; an answer means the row is stored.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Order is the payload flowing through the pipeline, and who waits for it.
type Order struct {
	ID       string
	Amount   float64
	Currency string
	done     chan error
}

const (
	bufferSize        = 100
	inboundSize       = 200
	enrichmentWorkers = 8
	writers           = 10
)

func validate(o Order) error {
	if o.ID == "" {
		return fmt.Errorf("missing order ID")
	}
	if o.Amount <= 0 {
		return fmt.Errorf("invalid amount")
	}
	return nil
}

func persist(ctx context.Context, db *pgx.Conn, o Order) error {
	_, err := db.Exec(ctx, `INSERT INTO orders (id, amount, currency) VALUES ($1,$2,$3)
		ON CONFLICT (id) DO UPDATE SET amount = excluded.amount`, o.ID, o.Amount, o.Currency)
	return err
}

func connect(ctx context.Context, url string) *pgx.Conn {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return db
}

// stage runs `workers` goroutines behind a bounded channel; what fails is answered at once.
func stage(workers int, fn func(Order) error, in <-chan Order) <-chan Order {
	out := make(chan Order, bufferSize)
	for i := 0; i < workers; i++ {
		go func() {
			for order := range in {
				if err := fn(order); err != nil {
					order.done <- err
					continue
				}
				out <- order
			}
		}()
	}
	return out
}

// store writes with `writers` connections, one each, and passes on what is stored.
func store(ctx context.Context, url string, in <-chan Order) <-chan Order {
	out := make(chan Order, bufferSize)
	for i := 0; i < writers; i++ {
		db := connect(ctx, url)
		go func() {
			for order := range in {
				if err := persist(ctx, db, order); err != nil {
					order.done <- err
					continue
				}
				out <- order
			}
		}()
	}
	return out
}

func answer(in <-chan Order) {
	for order := range in {
		order.done <- nil
	}
}

type place func(context.Context, Order) error

func queued(inbound chan<- Order) place {
	return func(ctx context.Context, order Order) error {
		order.done = make(chan error, 1)
		select {
		case inbound <- order:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-order.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pipeline(ctx context.Context, url string) place {
	inbound := make(chan Order, inboundSize)
	nothing := func(Order) error { return nil }
	v := stage(1, validate, inbound)
	e := stage(enrichmentWorkers, nothing, v)
	n := stage(1, nothing, store(ctx, url, e))
	go answer(n)
	return queued(inbound)
}

// pool is the documents' fixed pool: ten workers, each does all steps with a connection of its own.
func pool(ctx context.Context, url string) place {
	inbound := make(chan Order, inboundSize)
	for i := 0; i < writers; i++ {
		db := connect(ctx, url)
		go func() {
			for order := range inbound {
				err := validate(order)
				if err == nil {
					err = persist(ctx, db, order)
				}
				order.done <- err
			}
		}()
	}
	return queued(inbound)
}

// oneHandler is the documents' sequential flow: one connection, one order at a time.
func oneHandler(ctx context.Context, url string) place {
	db := connect(ctx, url)
	var mu sync.Mutex
	return func(_ context.Context, order Order) error {
		if err := validate(order); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		return persist(ctx, db, order)
	}
}

func handler(put place) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		var order Order
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
			http.Error(w, "invalid payload", http.StatusBadRequest)
			return
		}
		if err := put(ctx, order); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"status":"stored"}`))
	}
}

func main() {
	port := flag.Int("port", 0, "port on 127.0.0.1, 0 for a free one")
	mode := flag.String("mode", "pipeline", "pipeline, pool or handler")
	url := flag.String("store", "", "postgresql://…")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	start := map[string]func(context.Context, string) place{
		"pipeline": pipeline, "pool": pool, "handler": oneHandler}[*mode]
	if start == nil || *url == "" {
		flag.Usage()
		os.Exit(2)
	}
	db := connect(ctx, *url)
	if _, err := db.Exec(ctx, `CREATE TABLE IF NOT EXISTS orders
		(id text PRIMARY KEY, amount double precision NOT NULL, currency text NOT NULL)`); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	db.Close(ctx)
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", handler(start(context.Background(), *url)))
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
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

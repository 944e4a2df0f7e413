// grpc-go serving streams.v1.Streams, to measure against. GOMAXPROCS and the core are the caller's.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "weir.bench/rpc/streamspb"
)

const payloadBytesDefault = 92

type streams struct {
	pb.UnimplementedStreamsServer
}

func (streams) Process(ctx context.Context, request *pb.ProcessRequest) (*pb.ProcessResponse, error) {
	if request.FailWith != 0 {
		return nil, status.Error(codes.Code(request.FailWith), request.Text)
	}
	if request.DelayMs != 0 {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-time.After(time.Duration(request.DelayMs) * time.Millisecond):
		}
	}
	return &pb.ProcessResponse{Text: request.Text}, nil
}

func (streams) StreamData(request *pb.StreamDataRequest, stream grpc.ServerStreamingServer[pb.Data]) error {
	size := int(request.PayloadBytes)
	if size == 0 {
		size = payloadBytesDefault
	}
	message := &pb.Data{Payload: bytes.Repeat([]byte("x"), size)}
	for i := uint64(0); i < request.Count; i++ {
		message.Sequence = i
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

func (streams) Collect(stream grpc.ClientStreamingServer[pb.Data, pb.CollectResponse]) error {
	result := &pb.CollectResponse{}
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(result)
		}
		if err != nil {
			return err
		}
		result.Messages++
		result.Bytes += uint64(len(message.Payload))
	}
}

func (streams) Echo(stream grpc.BidiStreamingServer[pb.Data, pb.Data]) error {
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "`address` to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "go_rpc:", err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	pb.RegisterStreamsServer(server, streams{})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, "go_rpc:", err)
		os.Exit(1)
	}
}

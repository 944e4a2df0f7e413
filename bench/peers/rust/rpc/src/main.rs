//! tonic serving streams.v1.Streams on one thread, to measure against. The core is the caller's.
use std::{env, pin::Pin, time::Duration};

use tokio::net::TcpListener;
use tokio_stream::{wrappers::TcpListenerStream, Stream, StreamExt};
use tonic::{transport::Server, Code, Request, Response, Status, Streaming};

mod pb {
    tonic::include_proto!("streams.v1");
}
use pb::streams_server::{Streams, StreamsServer};

const PAYLOAD_BYTES_DEFAULT: u32 = 92;

struct Service;

type Answers = Pin<Box<dyn Stream<Item = Result<pb::Data, Status>> + Send>>;

#[tonic::async_trait]
impl Streams for Service {
    type StreamDataStream = Answers;
    type EchoStream = Answers;

    async fn process(
        &self,
        request: Request<pb::ProcessRequest>,
    ) -> Result<Response<pb::ProcessResponse>, Status> {
        let request = request.into_inner();
        if request.fail_with != 0 {
            return Err(Status::new(Code::from(request.fail_with), request.text));
        }
        if request.delay_ms != 0 {
            tokio::time::sleep(Duration::from_millis(request.delay_ms.into())).await;
        }
        Ok(Response::new(pb::ProcessResponse { text: request.text }))
    }

    async fn stream_data(
        &self,
        request: Request<pb::StreamDataRequest>,
    ) -> Result<Response<Answers>, Status> {
        let request = request.into_inner();
        let bytes = match request.payload_bytes {
            0 => PAYLOAD_BYTES_DEFAULT,
            bytes => bytes,
        };
        let payload = vec![b'x'; bytes as usize];
        let answers = (0..request.count).map(move |sequence| {
            Ok(pb::Data {
                sequence,
                payload: payload.clone(),
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn collect(
        &self,
        request: Request<Streaming<pb::Data>>,
    ) -> Result<Response<pb::CollectResponse>, Status> {
        let mut requests = request.into_inner();
        let mut result = pb::CollectResponse::default();
        while let Some(message) = requests.message().await? {
            result.messages += 1;
            result.bytes += message.payload.len() as u64;
        }
        Ok(Response::new(result))
    }

    async fn echo(&self, request: Request<Streaming<pb::Data>>) -> Result<Response<Answers>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().map(|message| message))))
    }

    async fn compose(
        &self,
        _request: Request<pb::ComposeRequest>,
    ) -> Result<Response<pb::ComposeResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

async fn serve(listen: &str) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(listen).await?;
    let connections = TcpListenerStream::new(listener).map(|connection| {
        connection.and_then(|connection| connection.set_nodelay(true).map(|()| connection))
    });
    Server::builder()
        .add_service(StreamsServer::new(Service))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let mut listen = "127.0.0.1:9000".to_string();
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--listen", Some(value)) => listen = value,
            _ => return Err("tonic_rpc [--listen HOST:PORT]".into()),
        }
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(&listen))
}

//! The operators of tokio-stream and futures that weir's stages stand beside, on one thread, as
//! nanoseconds per item. Each stands between a source and a sink behind channels of 256, the only
//! back-pressured boundary tokio has: without one the compiler folds a stream into a plain loop.
use std::collections::HashMap;
use std::time::Instant;

use futures_util::stream::{self, select_with_strategy, PollNext, Stream, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{channel, Receiver};
use tokio_stream::wrappers::ReceiverStream;

const WINDOW: usize = 256;
const KEYS: u64 = 8;

fn spawn<S>(from: S) -> ReceiverStream<S::Item>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    let (to, out) = channel(WINDOW);
    tokio::spawn(async move {
        let mut from = Box::pin(from);
        while let Some(v) = from.next().await {
            if to.send(v).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(out)
}

fn source(count: u64) -> ReceiverStream<u64> {
    spawn(stream::iter(0..count))
}

async fn sum<S: Stream<Item = u64> + Unpin>(mut from: S) -> u64 {
    let mut sum = 0;
    while let Some(v) = from.next().await {
        sum += v;
    }
    sum
}

async fn flat_map(count: u64) -> u64 {
    sum(spawn(source(count / 2).flat_map(|i| stream::iter([2 * i, 2 * i + 1])))).await
}

async fn batch(count: u64) -> u64 {
    sum(spawn(source(count).chunks(64)).map(|list| list.iter().sum())).await
}

/// A channel for each key, and all of them merged again.
async fn partition(count: u64) -> u64 {
    let mut from = source(count);
    let mut outs: Vec<_> = Vec::new();
    let mut legs: Vec<ReceiverStream<u64>> = Vec::new();
    for _ in 0..KEYS {
        let (to, out): (_, Receiver<u64>) = channel(WINDOW);
        outs.push(to);
        legs.push(ReceiverStream::new(out));
    }
    tokio::spawn(async move {
        let by_key: HashMap<u64, usize> = (0..KEYS).map(|k| (k, k as usize)).collect();
        while let Some(v) = from.next().await {
            if outs[by_key[&(v % KEYS)]].send(v).await.is_err() {
                return;
            }
        }
    });
    sum(stream::select_all(legs)).await
}

async fn merge(count: u64) -> u64 {
    let even = source(count / 2).map(|i| 2 * i);
    let odd = source(count / 2).map(|i| 2 * i + 1);
    sum(Box::pin(tokio_stream::StreamExt::merge(even, odd))).await
}

async fn merge_priority(count: u64) -> u64 {
    let even = source(count / 2).map(|i| 2 * i);
    let odd = source(count / 2).map(|i| 2 * i + 1);
    sum(Box::pin(select_with_strategy(even, odd, |_: &mut ()| PollNext::Left))).await
}

fn measure<F, R>(runtime: &Runtime, name: &str, count: u64, run: F)
where
    F: Fn(u64) -> R,
    R: std::future::Future<Output = u64> + Send + 'static,
{
    let timed = |n: u64| {
        let start = Instant::now();
        let future = {
            let _guard = runtime.enter();
            run(n)
        };
        let sum = runtime.block_on(async { tokio::spawn(future).await.expect("sink") });
        assert_eq!(sum, n * (n - 1) / 2, "{name}");
        start.elapsed()
    };
    timed(count / 20 * 2);
    println!("tokio_{name}={:.2} ns", timed(count).as_nanos() as f64 / count as f64);
}

fn main() {
    let count: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("a number of items"),
        None => 2_000_000,
    };
    let one = Builder::new_current_thread().build().expect("runtime");
    measure(&one, "flat_map", count, flat_map);
    measure(&one, "batch", count, batch);
    measure(&one, "partition", count, partition);
    measure(&one, "merge", count, merge);
    measure(&one, "merge_priority", count, merge_priority);
}

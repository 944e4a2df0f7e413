//! The documents' int pipelines and fan-out on tokio channels, as nanoseconds per item.
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{channel, Receiver};
use tokio::sync::Mutex;

fn source(count: u64, buffer: usize) -> Receiver<u64> {
    let (to, out) = channel(buffer);
    tokio::spawn(async move {
        for i in 0..count {
            if to.send(i).await.is_err() {
                return;
            }
        }
    });
    out
}

fn multiply(factor: u64, buffer: usize, mut from: Receiver<u64>) -> Receiver<u64> {
    let (to, out) = channel(buffer);
    tokio::spawn(async move {
        while let Some(v) = from.recv().await {
            if to.send(v * factor).await.is_err() {
                return;
            }
        }
    });
    out
}

async fn sink(mut from: Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(v) = from.recv().await {
        sum += v;
    }
    sum
}

async fn chain(count: u64, stages: usize, buffer: usize) -> u64 {
    let mut at = source(count, buffer);
    for _ in 0..stages - 2 {
        at = multiply(3, buffer, at);
    }
    sink(at).await
}

/// An mpsc receiver has one owner, so the workers share it behind a lock, as tokio's guide has it.
async fn fan_out(count: u64, workers: usize, buffer: usize) -> u64 {
    let jobs = Arc::new(Mutex::new(source(count, buffer)));
    let (to, results) = channel(buffer);
    for _ in 0..workers {
        let jobs = jobs.clone();
        let to = to.clone();
        tokio::spawn(async move {
            loop {
                let next = jobs.lock().await.recv().await;
                match next {
                    Some(v) if to.send(v * 3).await.is_ok() => {}
                    _ => return,
                }
            }
        });
    }
    drop(to);
    sink(results).await
}

fn measure<F, R>(runtime: &Runtime, name: &str, count: u64, factor: u64, run: F)
where
    F: Fn(u64) -> R,
    R: std::future::Future<Output = u64> + Send + 'static,
{
    // Spawned, so that with several threads the sink does not run outside the workers.
    let timed = |n: u64| {
        let start = Instant::now();
        let future = {
            let _guard = runtime.enter();
            run(n)
        };
        let sum = runtime.block_on(async { tokio::spawn(future).await.expect("sink") });
        assert_eq!(sum, n * (n - 1) / 2 * factor, "{name}");
        start.elapsed()
    };
    timed(count / 10);
    println!("{name}={:.2} ns", timed(count).as_nanos() as f64 / count as f64);
}

fn main() {
    let count: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse().expect("a number of items"),
        None => 2_000_000,
    };
    let one = Builder::new_current_thread().build().expect("runtime");
    let two = Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
    for (suffix, runtime) in [("1thread", &one), ("2threads", &two)] {
        measure(runtime, &format!("tokio_pipeline3_{suffix}"), count, 3, |n| chain(n, 3, 64));
        measure(runtime, &format!("tokio_pipeline5_{suffix}"), count, 27, |n| chain(n, 5, 100));
        measure(runtime, &format!("tokio_fanout4_{suffix}"), count, 3, |n| fan_out(n, 4, 64));
    }
}

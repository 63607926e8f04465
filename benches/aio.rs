//! The asynchronous writer and reader, compared with the engine and with the serial ones. Everything is in memory.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use waxseal::aio::{OpenReader, SealWriter};
use waxseal::engine::{Engine, Sink, Source};
use waxseal::keys::{KeyFile, KeyOpener};
use waxseal::{Demands, Envelope, SealOptions};

/// What a caller gives and takes at once.
const PORTION: usize = 64 << 10;

fn aio(criterion: &mut Criterion) {
    let key = Arc::new(KeyFile::generate().expect("randomness"));
    let engine = Engine::new();
    let plaintext = common::plaintext(common::len());
    let mut sealed = Vec::new();
    common::seal(&engine, &key, Source::Stream(&mut plaintext.as_slice()), Sink::Stream(&mut sealed));
    let envelope = || Envelope::new(&[&*key], &SealOptions::new()).expect("a key");

    let mut group = criterion.benchmark_group("aio");
    group.throughput(Throughput::Bytes(plaintext.len() as u64)).sample_size(10);
    group.bench_function("seal by the engine", |bench| {
        bench.iter(|| {
            let (mut from, mut to) = (plaintext.as_slice(), std::io::sink());
            common::seal(&engine, &key, Source::Stream(&mut from), Sink::Stream(&mut to));
        });
    });
    group.bench_function("seal, serial", |bench| {
        bench.iter(|| {
            let mut writer = waxseal::SealWriter::with_envelope(std::io::sink(), envelope());
            plaintext.chunks(PORTION).for_each(|portion| writer.write_all(portion).expect("writing"));
            writer.finish().expect("finishing")
        });
    });
    for (name, threads) in [("one thread", 0), ("two threads", 2)] {
        let runtime = match threads {
            0 => Builder::new_current_thread().build(),
            _ => Builder::new_multi_thread().worker_threads(threads).build(),
        }
        .expect("a runtime");
        group.bench_function(format!("seal, asynchronous, a runtime of {name}"), |bench| {
            bench.iter(|| {
                runtime.block_on(async {
                    let mut writer = SealWriter::with_envelope(tokio::io::sink(), envelope());
                    for portion in plaintext.chunks(PORTION) {
                        writer.write_all(portion).await.expect("writing");
                    }
                    writer.finish().await.expect("finishing")
                })
            });
        });
        group.bench_function(format!("open, asynchronous, a runtime of {name}"), |bench| {
            bench.iter(|| {
                runtime.block_on(async {
                    let openers: Vec<Arc<dyn KeyOpener>> = vec![key.clone()];
                    let mut reader = OpenReader::new(sealed.as_slice(), openers, &Demands::new()).await.expect("a key");
                    let mut portion = vec![0; PORTION];
                    while reader.read(&mut portion).await.expect("reading") > 0 {}
                })
            });
        });
    }
    group.bench_function("open by the engine", |bench| {
        bench.iter(|| {
            let (mut from, mut to) = (sealed.as_slice(), std::io::sink());
            common::open(&engine, &key, Source::Stream(&mut from), Sink::Stream(&mut to));
        });
    });
    group.bench_function("open, serial", |bench| {
        bench.iter(|| {
            let mut reader = waxseal::OpenReader::new(sealed.as_slice(), &[&*key], &Demands::new()).expect("a key");
            let mut portion = vec![0; PORTION];
            while reader.read(&mut portion).expect("reading") > 0 {}
        });
    });
    group.finish();
}

criterion_group!(benches, aio);
criterion_main!(benches);

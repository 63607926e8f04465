//! The engine between two pipes, compared with a plain copy between two pipes.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use waxseal::engine::{Engine, Sink, Source};
use waxseal::keys::KeyFile;

fn pipe() -> (File, File) {
    let (from, to) = std::io::pipe().expect("a pipe");
    (OwnedFd::from(from).into(), OwnedFd::from(to).into())
}

/// Feeds `input` into a pipe and empties another one. `work` transfers the bytes from the first to the second.
fn between_pipes(input: &[u8], work: impl FnOnce(&File, &File)) {
    let (from, mut feed) = pipe();
    let (mut drain, to) = pipe();
    thread::scope(|scope| {
        scope.spawn(move || feed.write_all(input).expect("feeding"));
        scope.spawn(move || {
            let mut buffer = vec![0; 1 << 17];
            while drain.read(&mut buffer).expect("draining") > 0 {}
        });
        work(&from, &to);
        drop(to);
    });
}

fn pipes(criterion: &mut Criterion) {
    let key = KeyFile::generate().expect("randomness");
    let engine = Engine::new();
    let plaintext = common::plaintext(common::len());
    let mut sealed = Vec::new();
    common::seal(&engine, &key, Source::Stream(&mut plaintext.as_slice()), Sink::Stream(&mut sealed));

    let mut group = criterion.benchmark_group("pipe");
    group.throughput(Throughput::Bytes(plaintext.len() as u64)).sample_size(20);
    group.bench_function("copy", |bench| {
        bench.iter(|| {
            between_pipes(&plaintext, |mut from, mut to| {
                let mut buffer = vec![0; 1 << 17];
                loop {
                    let read = from.read(&mut buffer).expect("reading");
                    if read == 0 {
                        break;
                    }
                    to.write_all(&buffer[..read]).expect("writing");
                }
            });
        });
    });
    group.bench_function("seal", |bench| {
        bench.iter(|| {
            between_pipes(&plaintext, |from, to| {
                common::seal(&engine, &key, Source::from_file(from), Sink::from_file(to));
            });
        });
    });
    group.bench_function("open", |bench| {
        bench.iter(|| {
            between_pipes(&sealed, |from, to| {
                common::open(&engine, &key, Source::from_file(from), Sink::from_file(to));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, pipes);
criterion_main!(benches);

//! The engine from file to file, compared with a plain copy of the same file. Nothing is synced.

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::io::{Seek, SeekFrom};
use waxseal::engine::{Engine, Sink, Source};
use waxseal::keys::KeyFile;

fn file(criterion: &mut Criterion) {
    let key = KeyFile::generate().expect("randomness");
    let engine = Engine::new();
    let plaintext = common::plaintext(common::len());
    let plain = common::file_of(&plaintext);
    let sealed = common::empty();
    common::seal(&engine, &key, Source::File(&plain), common::into(&sealed));

    let mut group = criterion.benchmark_group("file");
    group.throughput(Throughput::Bytes(plaintext.len() as u64)).sample_size(20);
    group.bench_function("copy", |bench| {
        bench.iter_with_large_drop(|| {
            let (mut from, mut to) = (&plain, common::empty());
            from.seek(SeekFrom::Start(0)).expect("a file seeks");
            std::io::copy(&mut from, &mut to).expect("copying");
            to
        });
    });
    group.bench_function("seal", |bench| {
        bench.iter_with_large_drop(|| {
            let to = common::empty();
            common::seal(&engine, &key, Source::File(&plain), common::into(&to));
            to
        });
    });
    group.bench_function("open", |bench| {
        bench.iter_with_large_drop(|| {
            let to = common::empty();
            common::open(&engine, &key, Source::File(&sealed), common::into(&to));
            to
        });
    });
    group.bench_function("verify", |bench| {
        bench.iter(|| common::open(&engine, &key, Source::File(&sealed), Sink::Nowhere));
    });
    group.finish();
}

/// The cost of one small file, without starting a process.
fn small_file(criterion: &mut Criterion) {
    let key = KeyFile::generate().expect("randomness");
    let engine = Engine::new();
    let plain = common::file_of(b"1");
    let sealed = common::empty();
    common::seal(&engine, &key, Source::File(&plain), common::into(&sealed));
    let mut group = criterion.benchmark_group("one byte");
    group.bench_function("seal", |bench| {
        bench.iter(|| common::seal(&engine, &key, Source::File(&plain), Sink::Stream(&mut std::io::sink())));
    });
    group.bench_function("open", |bench| {
        bench.iter(|| common::open(&engine, &key, Source::File(&sealed), Sink::Nowhere));
    });
    group.finish();
}

criterion_group!(benches, file, small_file);
criterion_main!(benches);

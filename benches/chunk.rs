//! The parts: a header, the key schedule, and one chunk for each suite and backend.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use waxseal::envelope::InputSize;
use waxseal::format::{CHUNK_LEN, Front, Header, SEALED_CHUNK_LEN, Suite};
use waxseal::keys::KeyFile;
use waxseal::payload::{Backend, ChunkIndex, ChunkOpener, ChunkSealer, PayloadKeys};
use waxseal::secret::DataKey;
use waxseal::{Envelope, SealOptions};

fn header(criterion: &mut Criterion) {
    let key = KeyFile::generate().expect("randomness");
    let envelope = Envelope::new(&[&key], &SealOptions::new()).expect("an envelope");
    for (name, size) in [("small", InputSize::Small), ("large", InputSize::Large)] {
        let mut group = criterion.benchmark_group(format!("header/{name}"));
        group.bench_function("write", |bench| bench.iter(|| envelope.header(size).expect("it fits")));
        let mut bytes = envelope.header(size).expect("it fits");
        bytes.extend_from_slice(&envelope.prelude().to_bytes());
        let front = Front::new(bytes);
        group.bench_function("read", |bench| bench.iter(|| Header::read(black_box(&front)).expect("a header")));
        group.finish();
    }
}

fn keys(backend: Backend, suite: Suite) -> PayloadKeys {
    let data_key = DataKey::from_slice(&[7; 32]).expect("32 bytes");
    PayloadKeys::derive_with(backend, &data_key, suite, &[9; 24], &[1; 200]).0
}

fn key_schedule(criterion: &mut Criterion) {
    criterion.bench_function("key schedule", |bench| bench.iter(|| keys(Backend::default(), Suite::Aes256Gcm)));
}

fn chunk(criterion: &mut Criterion) {
    let backends = [
        #[cfg(any(feature = "aws-lc", feature = "fips"))]
        ("aws-lc", Backend::AwsLc),
        #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
        ("ring", Backend::Ring),
        #[cfg(not(feature = "fips"))]
        ("pure-rust", Backend::PureRust),
    ];
    let suites = [("aes-256-gcm", Suite::Aes256Gcm), ("chacha20-poly1305", Suite::ChaCha20Poly1305)];
    for ((backend_name, backend), (suite_name, suite)) in
        backends.into_iter().flat_map(|backend| suites.map(|suite| (backend, suite)))
    {
        let mut group = criterion.benchmark_group(format!("chunk/{suite_name}/{backend_name}"));
        group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
        let sealer = ChunkSealer::new(keys(backend, suite));
        let opener = ChunkOpener::new(keys(backend, suite));
        let (plaintext, mut sealed, mut out) = (vec![3; CHUNK_LEN], vec![0; SEALED_CHUNK_LEN], vec![0; CHUNK_LEN]);
        group.bench_function("seal", |bench| {
            bench.iter(|| sealer.seal(ChunkIndex::FIRST, black_box(&plaintext), &mut sealed));
        });
        group.bench_function("open", |bench| {
            bench.iter(|| opener.open_into(ChunkIndex::FIRST, black_box(&sealed), &mut out).expect("it was sealed"));
        });
        group.finish();
    }
}

criterion_group!(benches, header, key_schedule, chunk);
criterion_main!(benches);

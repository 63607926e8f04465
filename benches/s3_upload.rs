//! Uploads 1 GiB: with this crate's writer, and with the SDK in a plain multipart upload of the same parts.
//!
//! `cargo bench -p waxseal-aws-s3 --bench s3_upload` sends to a process of its own, which drops what it gets: nothing but
//! the uploads is measured. The plain one has its bytes in memory, as four parts at once. It is measured as the SDK does
//! it, with SHA-256 and CRC32 of each part, and also with neither. Each way is measured several times in turn. The median
//! and the peak of memory are shown.

#![allow(clippy::print_stdout, reason = "it shows what it measured")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::sync::Semaphore;
use waxseal_aws_s3::{Overwrite, S3, S3Name, USUAL_PART, UploadOptions};

const MIB: usize = 1 << 20;

/// The ways of the comparison. Each runs in a process of its own, so that it has its own peak of memory.
const WAYS: [&str; 4] = ["socket", "upload", "plain", "plain-unchecked"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match &arguments[..] {
        [serve] if serve == "serve" => return serve_all(),
        [way, url, len] => return println!("{}", run(way, url, len.parse().unwrap())),
        _ => {}
    }
    // As a test, it only shows that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (len, rounds) = if is_bench { (1024 * MIB, 7) } else { (40 * MIB, 1) };
    let server = Server::start();
    let mut results: Vec<Vec<(f64, u64)>> = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (way, results) in WAYS.iter().zip(&mut results) {
            results.push(in_a_process(way, &server.url, len));
        }
    }
    let medians: Vec<f64> = results.iter_mut().map(|results| median(results)).collect();
    for ((way, seconds), results) in WAYS.iter().zip(&medians).zip(&results) {
        let peak = results.iter().map(|(_, peak)| peak).max().unwrap();
        let (to_upload, rate) = (medians[1] / seconds, len as f64 / seconds / 1e6);
        println!("{way}: {seconds:.3} s, {rate:.0} MB/s, peak {} MiB; upload takes {to_upload:.3} of it", peak / 1024);
    }
}

fn median(results: &mut [(f64, u64)]) -> f64 {
    results.sort_by(|one, other| one.0.total_cmp(&other.0));
    results[results.len() / 2].0
}

/// Seconds, and the peak of memory in KiB.
fn in_a_process(way: &str, url: &str, len: usize) -> (f64, u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([way, url, &len.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (seconds, peak) = text.trim().split_once(' ').unwrap();
    (seconds.parse().unwrap(), peak.parse().unwrap())
}

fn run(way: &str, url: &str, len: usize) -> String {
    let part: Vec<u8> = (0..=250).cycle().take(usize::try_from(USUAL_PART).unwrap()).collect();
    let start = Instant::now();
    match way {
        "socket" => through_a_socket(url, &part, len),
        "upload" => with_upload(url, &part, len),
        _ => plain(url, part, len, way),
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()).unwrap_or("0");
    format!("{seconds} {peak}")
}

/// What the server takes at best.
fn through_a_socket(url: &str, part: &[u8], len: usize) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "PUT /bucket/key HTTP/1.1\r\nContent-Length: {len}\r\n\r\n").unwrap();
    let mut left = len;
    while left > 0 {
        let now = left.min(part.len());
        stream.write_all(&part[..now]).unwrap();
        left -= now;
    }
    stream.read_exact(&mut [0]).unwrap();
}

fn with_upload(url: &str, part: &[u8], len: usize) {
    let s3 = S3::from_client(client(url, RequestChecksumCalculation::WhenSupported));
    let mut options = UploadOptions::default();
    options.overwrite = Overwrite::Replace;
    let mut upload = s3.upload(&S3Name::parse("s3://bucket/key").unwrap(), options).unwrap();
    for at in (0..len).step_by(MIB) {
        let at = at % part.len();
        upload.write_all(&part[at..at + MIB]).unwrap();
    }
    upload.complete().unwrap();
}

/// What anybody would write.
fn plain(url: &str, part: Vec<u8>, len: usize, way: &str) {
    let (part, is_checked) = (Bytes::from(part), way == "plain");
    let checksums =
        if is_checked { RequestChecksumCalculation::WhenSupported } else { RequestChecksumCalculation::WhenRequired };
    let client = client(url, checksums);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let started = client.create_multipart_upload().bucket("bucket").key("key").send().await.unwrap();
        let (id, room) = (started.upload_id.unwrap(), Arc::new(Semaphore::new(4)));
        let mut tasks = tokio::task::JoinSet::new();
        for (number, at) in (1..).zip((0..len).step_by(part.len())) {
            let body = part.slice(..part.len().min(len - at));
            let request = client.upload_part().bucket("bucket").key("key").upload_id(&id).part_number(number);
            let room = Arc::clone(&room);
            tasks.spawn(async move {
                let _turn = room.acquire_owned().await.unwrap();
                let request = request.body(ByteStream::from(body)).customize();
                let request = if is_checked { request } else { request.disable_payload_signing() };
                let etag = request.send().await.unwrap().e_tag;
                CompletedPart::builder().part_number(number).set_e_tag(etag).build()
            });
        }
        let mut parts = tasks.join_all().await;
        parts.sort_by_key(|part| part.part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = client.complete_multipart_upload().bucket("bucket").key("key").upload_id(id);
        request.multipart_upload(parts).send().await.unwrap();
    });
}

fn client(url: &str, checksums: RequestChecksumCalculation) -> Client {
    let settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .force_path_style(true)
        .request_checksum_calculation(checksums)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "bench"));
    Client::from_conf(settings.build())
}

/// This program as a server. It ends on drop, and with this process.
struct Server {
    url: String,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { url: format!("http://127.0.0.1:{}", port.trim()), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_all() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that closes its connection is no error.
            std::thread::spawn(move || serve(stream).unwrap_or_default());
        }
    });
    // The other end is open as long as the measuring process runs.
    let _ = std::io::stdin().read(&mut [0]);
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let (mut output, mut input) = (stream.try_clone()?, BufReader::new(stream));
    let mut dropped = vec![0; MIB];
    loop {
        let (mut first, mut left) = (String::new(), 0);
        input.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if line.starts_with("expect:") {
                output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            left = line.strip_prefix("content-length:").map_or(left, |len| len.trim().parse().unwrap());
        }
        while left > 0 {
            let now = dropped.len().min(left);
            match input.read(&mut dropped[..now])? {
                0 => return Ok(()),
                count => left -= count,
            }
        }
        let body = match first.split(' ').next() {
            Some("POST") if first.contains("uploads") => {
                "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
            }
            Some("POST") => "<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>",
            _ => "",
        };
        write!(output, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
}

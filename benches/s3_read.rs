//! Reads an object in order: with this crate's reader, and with the SDK in a plain loop over the same ranges.
//!
//! `cargo bench -p waxseal-aws-s3 --bench s3_read` serves the object from a process of its own, which sends it from
//! memory: nothing but the two readers is measured. `-- http://HOST:PORT BUCKET KEY` reads one of a store instead, with
//! the credentials of the tests. Each way is measured several times in turn, and the best of each is shown.

#![allow(clippy::print_stdout, reason = "it shows what it measured")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use waxseal_aws_s3::{ReadOptions, S3, S3Name};

const MIB: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [serve, len] = &arguments[..]
        && serve == "serve"
    {
        return serve_object(len.parse().unwrap());
    }
    // As a test, it only shows that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (len, rounds) = if is_bench { (1024 * MIB, 7) } else { (20 * MIB, 1) };
    let server = arguments.is_empty().then(|| Server::start(len));
    let (url, bucket, key) = match (&server, &arguments[..]) {
        (Some(server), _) => (server.url.clone(), "bucket", "key"),
        (None, [url, bucket, key]) => (url.clone(), bucket.as_str(), key.as_str()),
        _ => panic!("URL BUCKET KEY"),
    };
    let (client, name) = (client(&url), S3Name::new(bucket, key).unwrap());
    let s3 = S3::from_client(client.clone());
    for (part, parts) in [(8, 4), (8, 8), (8, 12), (4, 8), (16, 4), (16, 8)] {
        let options = ReadOptions { part_len: part * MIB, parts };
        let mut best = [f64::MAX; 4];
        for _ in 0..rounds {
            let [wall, cpu] = measured(|| with_reader(&s3, &name, options));
            let [plain_wall, plain_cpu] = measured(|| in_a_loop(&client, &name, options));
            for (best, now) in best.iter_mut().zip([wall, cpu, plain_wall, plain_cpu]) {
                *best = best.min(now);
            }
        }
        let [wall, cpu, plain_wall, plain_cpu] = best;
        println!(
            "{parts} x {part} MiB: reader {wall:.3} s ({cpu:.2} s of CPU), plain loop {plain_wall:.3} s ({plain_cpu:.2} s of CPU), \
             ratio {:.3}",
            wall / plain_wall
        );
    }
}

/// Seconds of time and of the processor.
fn measured(work: impl FnOnce()) -> [f64; 2] {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    work();
    [start.elapsed().as_secs_f64(), cpu_seconds() - cpu]
}

/// Linux counts in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn with_reader(s3: &S3, name: &S3Name, options: ReadOptions) {
    let object = s3.object(name).unwrap();
    let (mut reader, mut buffer, mut read) = (object.reader_with(options), vec![0; 1 << 20], 0);
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            len => read += len as u64,
        }
    }
    assert_eq!(read, object.len());
}

/// What anybody would write: so many requests at once, and each part as a whole.
fn in_a_loop(client: &Client, name: &S3Name, options: ReadOptions) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let get = |client: Client, name: S3Name, range: String| async move {
        let answer = client.get_object().bucket(name.bucket()).key(name.key()).range(range).send().await.unwrap();
        answer.body.collect().await.unwrap().into_bytes()
    };
    let len = runtime.block_on(async {
        let head = client.head_object().bucket(name.bucket()).key(name.key()).send().await.unwrap();
        u64::try_from(head.content_length().unwrap()).unwrap()
    });
    let (mut started, mut read, mut parts) = (0, 0, VecDeque::new());
    while read < len {
        while started < len && parts.len() < options.parts {
            let end = (started + options.part_len).min(len);
            let range = format!("bytes={started}-{}", end - 1);
            parts.push_back(runtime.spawn(get(client.clone(), name.clone(), range)));
            started = end;
        }
        read += runtime.block_on(parts.pop_front().unwrap()).unwrap().len() as u64;
    }
}

fn client(url: &str) -> Client {
    let settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .force_path_style(true)
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
    fn start(len: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["serve", &len.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
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

fn serve_object(len: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that closes its connection is no error.
            std::thread::spawn(move || serve(stream, len).unwrap_or_default());
        }
    });
    // The other end is open as long as the measuring process runs.
    let _ = std::io::stdin().read(&mut [0]);
}

fn serve(stream: TcpStream, len: u64) -> std::io::Result<()> {
    let bytes: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let (mut first, mut range) = (String::new(), 0..len);
        input.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((from, to)) =
                line.to_ascii_lowercase().strip_prefix("range: bytes=").and_then(|r| r.split_once('-'))
            {
                range = from.parse().unwrap()..(to.trim().parse::<u64>().unwrap() + 1).min(len);
            }
        }
        let mut left = range.end - range.start;
        write!(
            output,
            "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Length: {left}\r\nContent-Range: bytes {}-{}/{len}\r\n\r\n",
            range.start,
            range.end - 1
        )?;
        while left > 0 && !first.starts_with("HEAD") {
            let now = left.min(bytes.len() as u64);
            output.write_all(&bytes[..usize::try_from(now).unwrap()])?;
            left -= now;
        }
    }
}

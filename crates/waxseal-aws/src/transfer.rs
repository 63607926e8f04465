//! The HTTP client for transfers: requests and answers of many bytes.
//!
//! A transfer over a slow line takes as long as it takes, so there is no limit for the whole of an attempt. Instead, the
//! attempt fails if nothing moves for some time. The SDK's own read timeout counts the sending of a request, and its
//! protection against stalled streams does not see the sending of a body that is in memory.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, Metadata};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::{Error, SdkBody};
use aws_smithy_types::config_bag::ConfigBag;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep, timeout};

use super::http::{LazyClient, Proxies, lazy};

/// The client for transfers. The read timeout of a call is its longest silence: the attempt fails if no byte of the request
/// or of the answer moves for that long. It can take up to twice as long until this is noticed. Answers have no limit
/// ([`Bounded`](super::http::Bounded) sets it).
#[must_use]
pub fn client(bundle: Option<TrustStore>, proxies: Proxies) -> SharedHttpClient {
    SharedHttpClient::new(Watched(lazy(bundle, proxies, None)))
}

/// Allows a longer silence for some operations: those in which the service works for long before it answers.
#[derive(Debug)]
pub struct Slow {
    /// The operations.
    pub operations: &'static [&'static str],
    /// Their longest silence.
    pub silence: Duration,
}

/// The mark on a request that [`Slow`] makes.
#[derive(Debug, Clone, Copy)]
struct Silence(Duration);

#[dyn_dispatch_hint]
impl Intercept for Slow {
    fn name(&self) -> &'static str {
        "Slow"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if bag.load::<Metadata>().is_some_and(|operation| self.operations.contains(&operation.name())) {
            context.request_mut().add_extension(Silence(self.silence));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Watched(LazyClient);

impl HttpClient for Watched {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        let mut without = HttpConnectorSettings::builder();
        without.set_connect_timeout(settings.connect_timeout());
        let inner = self.0.http_connector(&without.build(), parts);
        match settings.read_timeout() {
            Some(silence) => SharedHttpConnector::new(WatchedConnector { inner, silence }),
            None => inner,
        }
    }
}

#[derive(Debug)]
struct WatchedConnector {
    inner: SharedHttpConnector,
    silence: Duration,
}

impl HttpConnector for WatchedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let silence = request.extension().map_or(self.silence, |Silence(silence)| *silence);
        let moved = Arc::new(AtomicU64::new(0));
        if request.body().content_length() != Some(0) {
            let body = request.take_body();
            let pieces = Pieces { body, rest: None, moved: Arc::clone(&moved) };
            *request.body_mut() = SdkBody::from_body_1_x(pieces);
        }
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = pin!(answer);
            let mut answer = loop {
                let before = moved.load(Ordering::Relaxed);
                match timeout(silence, answer.as_mut()).await {
                    Ok(answer) => break answer?,
                    Err(_) if moved.load(Ordering::Relaxed) != before => {}
                    Err(_) => return Err(ConnectorError::timeout(silent().into())),
                }
            };
            let body = answer.take_body();
            *answer.body_mut() = SdkBody::from_body_1_x(Timed { body, silence, timer: None });
            Ok(answer)
        })
    }
}

fn silent() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// The body of a request in pieces. Each one that the connection takes shows that bytes move.
struct Pieces {
    body: SdkBody,
    /// What is left of the last frame.
    rest: Option<Data>,
    /// How many pieces were taken.
    moved: Arc<AtomicU64>,
}

type Data = <SdkBody as Body>::Data;

/// Larger pieces would show too seldom that bytes move: a line with 64 KiB/s takes a second for one.
const PIECE: usize = 64 << 10;

impl Body for Pieces {
    type Data = Data;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        loop {
            if let Some(mut rest) = self.rest.take_if(|rest| !rest.is_empty()) {
                let piece = rest.split_to(rest.len().min(PIECE));
                self.rest = Some(rest);
                self.moved.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = Some(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Data::is_empty) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.as_ref().map_or(0, |rest| rest.len() as u64), Body::size_hint(&self.body));
        let mut both = SizeHint::new();
        both.set_lower(rest + body.lower());
        if let Some(upper) = body.upper() {
            both.set_upper(rest + upper);
        }
        both
    }
}

/// The body of an answer. It fails if its reader waits for too long. The time in which the reader does not ask is not
/// counted.
struct Timed {
    body: SdkBody,
    silence: Duration,
    /// Set while the reader waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body for Timed {
    type Data = Data;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.timer = None;
            return Poll::Ready(frame);
        }
        let silence = self.silence;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(silence)));
        ready!(timer.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(Some(Err(silent().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use aws_sdk_s3::config::retry::RetryConfig;
    use aws_sdk_s3::config::timeout::TimeoutConfig;
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};

    use super::*;
    use crate::http::Bounded;

    const SILENCE: Duration = Duration::from_secs(2);
    const LEN: usize = 16 << 20;

    /// A client of a server that answers each connection with `serve`.
    fn client_of(serve: impl Fn(TcpStream) + Send + 'static) -> aws_sdk_s3::Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
        let timeouts = TimeoutConfig::builder().read_timeout(SILENCE).build();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
            .endpoint_url(url)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(super::client(None, Proxies::default()))
            .interceptor(Slow { operations: &["HeadBucket"], silence: Duration::from_secs(60) })
            .interceptor(Bounded::except(1 << 20, &["GetObject"]));
        aws_sdk_s3::Client::from_conf(config.build())
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn put(client: &aws_sdk_s3::Client) -> Result<(), String> {
        let sent = client.put_object().bucket("b").key("k").body(vec![7; LEN].into()).send();
        block_on(sent).map(|_| ()).map_err(|error| format!("{error:?}"))
    }

    fn get(client: &aws_sdk_s3::Client) -> Result<usize, String> {
        block_on(async {
            let answer = client.get_object().bucket("b").key("k").send().await.map_err(|error| format!("{error:?}"))?;
            let body = answer.body.collect().await.map_err(|error| format!("{error:?}"))?;
            Ok(body.into_bytes().len())
        })
    }

    /// Reads the head of a request, and returns how many bytes of its body came along with it.
    fn head(stream: &mut TcpStream) -> usize {
        let (mut read, mut room) = (Vec::new(), [0; 4096]);
        loop {
            let len = stream.read(&mut room).unwrap();
            read.extend_from_slice(&room[..len]);
            if let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") {
                return read.len() - end - 4;
            }
        }
    }

    fn answer(stream: &mut TcpStream, status: &str, len: usize) {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n").unwrap();
    }

    /// Each takes longer than the silence that is allowed.
    #[test]
    fn a_slow_transfer_is_not_cut() {
        let upload = client_of(|mut stream| {
            let (mut room, mut read) = (vec![0; 512 << 10], head(&mut stream));
            while read < LEN {
                let len = stream.read(&mut room).unwrap();
                assert!(len > 0, "the connection was closed after {read} bytes");
                read += len;
                std::thread::sleep(Duration::from_millis(u64::try_from(len).unwrap() / 5000));
            }
            answer(&mut stream, "200 OK", 0);
        });
        let download = client_of(|mut stream| {
            head(&mut stream);
            answer(&mut stream, "200 OK", 40);
            for _ in 0..40 {
                stream.write_all(b"x").unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        std::thread::scope(|scope| {
            let upload = scope.spawn(|| put(&upload));
            assert_eq!(get(&download), Ok(40));
            assert_eq!(upload.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn an_operation_that_takes_long_may_be_silent_for_longer() {
        let client = client_of(|mut stream| {
            head(&mut stream);
            std::thread::sleep(2 * SILENCE + Duration::from_secs(1));
            answer(&mut stream, "200 OK", 0);
        });
        let answered = block_on(client.head_bucket().bucket("b").send());
        assert!(answered.is_ok(), "{answered:?}");
    }

    #[test]
    fn a_silent_transfer_is_cut() {
        let hang = |stream: TcpStream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        };
        let (nothing_read, no_answer) = (client_of(hang), client_of(hang));
        let half = client_of(move |mut stream| {
            head(&mut stream);
            answer(&mut stream, "200 OK", 40);
            stream.write_all(b"half").unwrap();
            hang(stream);
        });
        std::thread::scope(|scope| {
            let put = scope.spawn(|| put(&nothing_read));
            let get_nothing = scope.spawn(|| get(&no_answer));
            let error = get(&half).unwrap_err();
            assert!(error.contains("TimedOut"), "{error}");
            for error in [put.join().unwrap().unwrap_err(), get_nothing.join().unwrap().unwrap_err()] {
                assert!(error.contains("kind: Timeout"), "{error}");
            }
        });
    }

    #[test]
    fn only_the_content_of_an_object_has_no_limit() {
        let long = |status: &'static str| {
            client_of(move |mut stream| {
                head(&mut stream);
                answer(&mut stream, status, LEN);
                // The client closes the connection early.
                let _ = stream.write_all(&vec![b' '; LEN]);
            })
        };
        assert_eq!(get(&long("200 OK")), Ok(LEN));
        let error = get(&long("404 Not Found")).unwrap_err();
        assert!(error.contains("LengthLimitError"), "{error}");
        let client = long("200 OK");
        let error = block_on(client.list_objects_v2().bucket("b").send()).unwrap_err();
        assert!(format!("{error:?}").contains("LengthLimitError"), "{error:?}");
    }
}

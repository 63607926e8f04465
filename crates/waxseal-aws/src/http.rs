//! The HTTP client of the SDK, with proxies and `AWS_CA_BUNDLE`. It builds nothing before it is needed.
//!
//! The SDK's default client reads the trust roots of the system as soon as it is created, even for an endpoint without
//! TLS. It has no support for proxy variables and bundles.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Limited;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::environment::Environment;
use super::trouble::Own;

/// The variable for a file of trust roots. As in the AWS CLI, they replace the system's trust roots.
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Who computes TLS: AWS-LC, or its FIPS module. The key agreement is X25519MLKEM768 wherever the other side has it.
#[cfg(not(feature = "fips"))]
const CRYPTO: CryptoMode = CryptoMode::AwsLc;
#[cfg(feature = "fips")]
const CRYPTO: CryptoMode = CryptoMode::AwsLcFips;

/// The limit for an answer. Answers of KMS, of STS and of sources of credentials have a few KiB.
const ANSWER_MAX: usize = 1 << 20;

/// The client for every service. `bundle` replaces the system's trust roots.
#[must_use]
pub fn client(bundle: Option<TrustStore>, proxies: Proxies) -> SharedHttpClient {
    SharedHttpClient::new(lazy(bundle, proxies, Some(ANSWER_MAX)))
}

/// The client without a limit for answers, or with another one.
pub(super) fn lazy(bundle: Option<TrustStore>, proxies: Proxies, limit: Option<usize>) -> LazyClient {
    LazyClient { bundle, proxies, limit, connectors: Mutex::default() }
}

/// The proxies of the environment, each with its scheme. They can contain a password, so there is no Debug.
#[derive(Clone, Default)]
pub struct Proxies {
    tls: Option<String>,
    plain: Option<String>,
    without: Option<String>,
}

impl Proxies {
    /// Reads the variables, which were checked before. Under CGI they are ignored, because a client's header can set one.
    pub(super) fn of(environment: &Environment) -> Self {
        if environment.raw("REQUEST_METHOD").is_some() {
            return Self::default();
        }
        let proxy = |names: [&str; 4]| {
            let (_, url) = environment.first(&names)?;
            Some(if url.contains("://") { url.to_owned() } else { format!("http://{url}") })
        };
        Self {
            tls: proxy(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            plain: proxy(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            without: environment.first(&["NO_PROXY", "no_proxy"]).map(|(_, names)| names.to_owned()),
        }
    }

    fn config(&self, way: Way) -> Result<ProxyConfig, String> {
        let config = match (way, &self.tls, &self.plain) {
            (Way::Tls, Some(url), _) => ProxyConfig::https(url.as_str()),
            (Way::Plain, _, Some(url)) => ProxyConfig::http(url.as_str()),
            _ => return Ok(ProxyConfig::disabled()),
        };
        // The error is not repeated, because it contains the address, and with it perhaps a password.
        let config = config.map_err(|_| "the proxy's address cannot be used".to_owned())?;
        Ok(match &self.without {
            Some(names) => config.no_proxy(names),
            None => config,
        })
    }
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

type Timeouts = (Option<Duration>, Option<Duration>);

#[derive(Debug)]
pub(super) struct LazyClient {
    bundle: Option<TrustStore>,
    proxies: Proxies,
    /// The limit for an answer.
    limit: Option<usize>,
    /// One set of connections for each pair of timeouts. The SDK asks for a connector for each request.
    connectors: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

impl HttpClient for LazyClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (bundle, proxies) = (self.bundle.clone(), self.proxies.clone());
            SharedHttpConnector::new(LazyConnector::new(settings.clone(), bundle, proxies, self.limit))
        };
        connectors.entry(timeouts).or_insert_with(new).clone()
    }
}

/// How a request leaves the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With TLS, and through the proxy of the environment if there is one.
    Tls,
    /// Without TLS, and through the proxy of the environment if there is one.
    Plain,
    /// Without TLS, and without a proxy.
    Local,
}

impl Way {
    /// Requests to this machine never go through a proxy. Some of its addresses give instances and containers their
    /// credentials.
    fn of(uri: &str) -> Self {
        let Some(rest) = uri.strip_prefix("http://") else { return Self::Tls };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let local = match host.parse() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
            Err(_) => host == "localhost",
        };
        if local { Self::Local } else { Self::Plain }
    }
}

#[derive(Debug)]
struct LazyConnector {
    settings: HttpConnectorSettings,
    bundle: Option<TrustStore>,
    proxies: Proxies,
    limit: Option<usize>,
    tls: Built,
    plain: Built,
    local: Built,
}

type Built = OnceLock<Result<Connector, String>>;

impl LazyConnector {
    fn new(
        settings: HttpConnectorSettings,
        bundle: Option<TrustStore>,
        proxies: Proxies,
        limit: Option<usize>,
    ) -> Self {
        let (tls, plain, local) = (Built::new(), Built::new(), Built::new());
        Self { settings, bundle, proxies, limit, tls, plain, local }
    }

    /// Without TLS, trust roots are not needed, and are not read.
    fn build(&self, way: Way) -> Result<Connector, String> {
        let roots = match way {
            Way::Tls => self.bundle.clone().unwrap_or_default(),
            Way::Plain | Way::Local => TrustStore::empty(),
        };
        let context = TlsContext::builder().with_trust_store(roots).build().map_err(|error| error.to_string())?;
        Ok(ConnectorBuilder::default()
            .connector_settings(self.settings.clone())
            .proxy_config(self.proxies.config(way)?)
            .tls_provider(Provider::Rustls(CRYPTO))
            .tls_context(context)
            .build())
    }
}

impl HttpConnector for LazyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let way = Way::of(request.uri());
        let built = match way {
            Way::Tls => &self.tls,
            Way::Plain => &self.plain,
            Way::Local => &self.local,
        };
        let answer = match built.get_or_init(|| self.build(way)) {
            Ok(connector) => connector.call(request),
            Err(why) => return HttpConnectorFuture::ready(Err(ConnectorError::user(Own(why.clone()).into()))),
        };
        let Some(limit) = self.limit else { return answer };
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            bound(&mut answer, limit);
            Ok(answer)
        })
    }
}

/// Limits the answer to `limit` bytes. A longer answer is an error, and its connection is closed. Answers are never
/// decompressed.
fn bound(answer: &mut HttpResponse, limit: usize) {
    let body = answer.take_body();
    *answer.body_mut() = SdkBody::from_body_1_x(Limited::new(body, limit));
}

/// Limits the answers of a client, whatever HTTP client it uses.
#[derive(Debug)]
pub struct Bounded {
    limit: usize,
    streamed: &'static [&'static str],
}

impl Bounded {
    /// The limit for services whose answers have a few KiB: 1 MiB.
    #[must_use]
    pub fn small() -> Self {
        Self { limit: ANSWER_MAX, streamed: &[] }
    }

    /// Another limit. A successful answer to an operation of `streamed` has none, because its caller reads it piece by
    /// piece.
    #[must_use]
    pub fn except(limit: usize, streamed: &'static [&'static str]) -> Self {
        Self { limit, streamed }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let streamed = bag.load::<Metadata>().is_some_and(|operation| self.streamed.contains(&operation.name()));
        if !(streamed && context.response().status().is_success()) {
            bound(context.response_mut(), self.limit);
        }
        Ok(())
    }
}

/// At most this much of a bundle is read. Bundles in use have 300 KiB.
const MAX_BUNDLE: u64 = 16 << 20;

/// The certificates in the file `path` that can be trust roots. Others are left out, because the HTTP client would panic
/// at them. Bundles in use contain some that are too old.
///
/// # Errors
/// The reason why there are none.
pub(super) fn bundle(path: &Path) -> Result<TrustStore, String> {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BUNDLE + 1).read_to_end(&mut text));
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_BUNDLE {
        return Err(format!("it is longer than {} MiB", MAX_BUNDLE >> 20));
    }
    let mut roots = TrustStore::empty();
    let mut checked = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(certificate.as_ref())
        );
        if checked.add(certificate).is_ok() {
            roots.add_pem_certificate(pem);
        }
    }
    if checked.is_empty() { Err("it contains no certificate that can be a trust root".into()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        for (uri, way) in [
            ("https://kms.eu-west-1.amazonaws.com/", Way::Tls),
            ("HTTPS://kms.eu-west-1.amazonaws.com/", Way::Tls),
            ("http://127.0.0.1:5000/", Way::Local),
            ("http://localhost:5000", Way::Local),
            ("http://169.254.169.254/latest/meta-data", Way::Local),
            ("http://[fd00:ec2::254]/latest", Way::Local),
            ("http://[::1]:80", Way::Local),
            ("http://kms.example:80/", Way::Plain),
            ("http://10.0.0.1/", Way::Plain),
            ("http://localhost.example/", Way::Plain),
        ] {
            assert_eq!(Way::of(uri), way, "{uri}");
        }
    }

    #[test]
    fn bundles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.pem");
        assert!(bundle(&path).is_err());
        for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(bundle(&path).unwrap_err(), "it contains no certificate that can be a trust root");
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n").unwrap();
        assert!(bundle(&path).unwrap_err().starts_with("not PEM"));
    }
}

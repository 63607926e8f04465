//! TLS to AWS KMS, with the real program and a server on this machine that tells which key agreement was made.
#![cfg(all(unix, feature = "aws-kms"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use cli_support::Place;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{NamedGroup, ProtocolVersion, ServerConfig, ServerConnection};
use support::{Certificates, clear_aws_environment};

/// What a server saw of one connection.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    version: ProtocolVersion,
    group: NamedGroup,
    /// The operation of KMS that was asked for.
    target: String,
}

/// How the answer of a KMS that knows nobody begins.
const REFUSAL: &str = r#"{"__type":"AccessDeniedException","message":"not for you"}"#;

/// The program makes one call to a server that offers `groups`.
fn call(groups: Vec<&'static dyn SupportedKxGroup>) -> Seen {
    let certificates = Certificates::for_host("localhost");
    let bundle = certificates.bundle();
    let folder = bundle.parent().unwrap();
    let chain = CertificateDer::pem_file_iter(folder.join("leaf.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).unwrap();
    let provider = Arc::new(CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() });
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let server = thread::spawn(move || serve(&listener, config));

    let place = Place::new();
    place.write("in", "text");
    let mut command = place.command(&["encrypt", "-k", "alias/x", "-o", "-", "in", "--kms-timeout", "20"]);
    clear_aws_environment(&mut command);
    command
        .env("HOME", place.path(""))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ENDPOINT_URL_KMS", url)
        .env("AWS_CA_BUNDLE", bundle);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert!(errors.contains("not for you"), "{errors}");
    server.join().unwrap()
}

/// Refuses one request.
fn serve(listener: &TcpListener, config: Arc<ServerConfig>) -> Seen {
    let mut socket = listener.accept().unwrap().0;
    let mut connection = ServerConnection::new(config).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    // With unread bytes in the socket, its end would reset the connection before the answer is read.
    while !is_whole(&request) {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "the request ends early");
        request.extend_from_slice(&buffer[..len]);
    }
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{REFUSAL}",
        REFUSAL.len()
    );
    stream.write_all(answer.as_bytes()).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let head = String::from_utf8_lossy(&request).into_owned();
    let target = head.lines().find_map(|line| line.strip_prefix("x-amz-target: ")).unwrap().to_owned();
    Seen {
        version: connection.protocol_version().unwrap(),
        group: connection.negotiated_key_exchange_group().unwrap().name(),
        target,
    }
}

/// Whether the head and the body of a request have arrived.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>();
    body.len() >= len.unwrap()
}

#[test]
fn the_key_agreement_is_post_quantum() {
    let seen = call(aws_lc_rs::ALL_KX_GROUPS.to_vec());
    let target = "TrentService.GenerateDataKey".to_owned();
    assert_eq!(seen, Seen { version: ProtocolVersion::TLSv1_3, group: NamedGroup::X25519MLKEM768, target });
}

/// So that the test above can fail, and because a KMS endpoint of an old partition must work, too.
#[test]
fn a_server_without_it_gets_a_classical_one() {
    let seen = call(vec![aws_lc_rs::kx_group::SECP384R1]);
    assert_eq!((seen.version, seen.group), (ProtocolVersion::TLSv1_3, NamedGroup::secp384r1));
}

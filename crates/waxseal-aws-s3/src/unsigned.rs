//! Decides which bodies are sent without their SHA-256 in the signature.

use aws_runtime::auth::PayloadSigningOverride;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Leaves the SHA-256 of the body out of the signature if nobody can change the body on the network: inside TLS, and on
/// this machine. S3's protocol has `UNSIGNED-PAYLOAD` for this. The body's CRC64NVME is among the signed headers, and
/// S3 compares it. Over plain HTTP to another machine, the body stays signed, because a CRC is no protection against an
/// attacker.
#[derive(Debug)]
pub(crate) struct UnsignedWhereSafe;

#[dyn_dispatch_hint]
impl Intercept for UnsignedWhereSafe {
    fn name(&self) -> &'static str {
        "UnsignedWhereSafe"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if is_safe(context.request().uri()) {
            config.interceptor_state().store_put(PayloadSigningOverride::unsigned_payload());
        }
        Ok(())
    }
}

fn is_safe(uri: &str) -> bool {
    if uri.starts_with("https://") {
        return true;
    }
    let authority = uri.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_safe() {
        for uri in ["https://b.s3.eu-west-1.amazonaws.com/k?x", "http://127.0.0.1:8333/b/k", "http://[::1]:80/b"] {
            assert!(is_safe(uri), "{uri}");
        }
        for uri in [
            "http://10.0.0.1/b/k",
            "http://127.0.0.1.example.com/b",
            "http://127.0.0.1@example.com/b",
            "http://127.0.0.1:80@example.com/b",
            "http://localhost.example/b",
            "http://[2001:db8::1]/",
            "",
        ] {
            assert!(!is_safe(uri), "{uri}");
        }
    }
}

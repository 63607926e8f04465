//! Finds out which store has answered.

use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Remembers whether the first request went to AWS itself. AWS checks all conditions. For other stores, this must be
/// tested. The headers of the answer prove nothing, because other stores send the same `Server` as AWS.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerName(Arc<OnceLock<bool>>);

impl ServerName {
    pub(crate) fn is_aws(&self) -> bool {
        self.0.get().copied().unwrap_or(false)
    }
}

#[dyn_dispatch_hint]
impl Intercept for ServerName {
    fn name(&self) -> &'static str {
        "ServerName"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let _ = self.0.set(is_of_aws(context.request().uri()));
        Ok(())
    }
}

/// Whether the address is one of AWS's own, over TLS.
pub(crate) fn is_of_aws(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // With a user name and a password before the host, the text before the first colon is not the host.
    let host = if host.contains('@') { "" } else { host.split(':').next().unwrap_or_default() };
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_of_aws_are_of_aws() {
        for own in [
            "https://bucket.s3.eu-west-1.amazonaws.com/key",
            "https://s3.cn-north-1.amazonaws.com.cn:443/bucket/key?x",
            "https://bucket.s3.dualstack.eu-west-1.api.aws/",
            "https://bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com/key",
        ] {
            assert!(is_of_aws(own), "{own}");
        }
        for other in [
            "http://bucket.s3.eu-west-1.amazonaws.com/key",
            "https://127.0.0.1:9000/bucket/key",
            "https://store.example/x.amazonaws.com",
            "https://s3.amazonaws.com.evil.example/key",
            "https://evilamazonaws.com/key",
            "https://a.amazonaws.com@evil.example/key",
            "https://evil.example?.amazonaws.com",
        ] {
            assert!(!is_of_aws(other), "{other}");
        }
    }
}

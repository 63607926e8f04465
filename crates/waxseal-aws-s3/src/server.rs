//! Which store has answered.

use std::sync::{Arc, OnceLock};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Remembers whether AWS itself has answered first. AWS checks all conditions. Of other stores this must be found out.
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

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_aws = context.response().headers().get("server") == Some("AmazonS3");
        let _ = self.0.set(is_aws);
        Ok(())
    }
}

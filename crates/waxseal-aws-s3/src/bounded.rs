//! A limit for every answer that the SDK keeps in memory.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;

/// A page of a listing has 1,000 keys of up to 1,024 bytes, each of which can take three bytes in the answer.
const ANSWER_MAX: usize = 8 << 20;

/// Limits all answers but the content of an object, which comes in pieces and is counted where it is used.
#[derive(Debug)]
pub(crate) struct Bounded;

#[dyn_dispatch_hint]
impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        let is_read = config.load::<Metadata>().is_some_and(|called| called.name() == "GetObject");
        if !(is_read && answer.status().is_success()) {
            let body = answer.take_body();
            *answer.body_mut() = SdkBody::from_body_1_x(Limited::new(body, ANSWER_MAX));
        }
        Ok(())
    }
}

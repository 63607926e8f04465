//! The program in its own folder, and KMS behind a proxy that counts the calls.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use serde_json::Value;

use crate::cli_support::{Place, Ran};
use crate::support::{CountingProxy, REGION, Server, clear_aws_environment, counting_proxy, small_kms};

pub(crate) struct Cloud {
    pub(crate) place: Place,
    pub(crate) proxy: CountingProxy,
    own: Option<Server>,
}

impl Cloud {
    /// KMS is a server that other tests also use.
    pub(crate) fn at(url: &str) -> Self {
        Self { place: Place::new(), proxy: counting_proxy(url), own: None }
    }

    /// KMS is `server`, which only this test uses.
    pub(crate) fn with(server: Server) -> Self {
        let cloud = Self::at(&server.url);
        Self { own: Some(server), ..cloud }
    }

    /// KMS is a new small KMS.
    pub(crate) fn small() -> Self {
        Self::with(small_kms())
    }

    /// The server that only this test uses.
    #[track_caller]
    pub(crate) fn server(&self) -> &Server {
        self.own.as_ref().expect("a server of its own")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        clear_aws_environment(&mut command);
        command.env("AWS_ENDPOINT_URL", &self.proxy.url).env("AWS_REGION", REGION);
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs and expects success.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    }

    /// The one line of JSON that a run prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        serde_json::from_str(&ran.text()).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ran.stderr))
    }

    /// The body of the last request for `operation`.
    pub(crate) fn last_body(&self, operation: &str) -> Value {
        self.server().last_body(operation)
    }
}

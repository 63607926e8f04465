//! What the AWS crates of waxseal have in common: configuration, credentials, the HTTP client, the thread that makes the
//! calls, the causes of failures, and the waits of throttled calls.
//!
//! A crate for a service describes the service by a [`Service`] and gives it to [`config::Choices`]. This crate then
//! reads and checks all settings before it gives them to the SDK (docs/aws-configuration.md).
//!
//! It is made for the crates of this project only, and may change with each version.

pub mod config;
#[cfg(unix)]
#[cfg(test)]
mod configurations;
pub mod credentials;
mod effective;
mod endpoint;
pub mod environment;
pub mod failure;
pub mod helpers;
pub mod http;
pub mod name;
mod profile;
mod service;
mod setting;
pub mod throttle;
pub mod transfer;
pub mod trouble;
pub mod words;
pub mod worker;

pub use service::Service;

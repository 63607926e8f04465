//! A scheduler that reads sealed files, to plan queries: `scheduler FOLDER KEYS`. It prints its port.

use std::env::{args_os, temp_dir};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion::object_store::local::LocalFileSystem;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use engines_ballista::Keys;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [folder, keys] = [1, 2].map(|at| args_os().nth(at).map(PathBuf::from));
    let (folder, keys) = folder.zip(keys).ok_or("usage: scheduler FOLDER KEYS")?;
    let keys = Keys::new(keys, Arc::new(LocalFileSystem::new_with_prefix(folder)?), temp_dir());

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut config = SchedulerConfig::default()
        .with_hostname("127.0.0.1")
        .with_port(port)
        .with_scheduler_policy(TaskSchedulingPolicy::PullStaged)
        .with_override_config_producer(Arc::new(Keys::config))
        .with_override_session_builder(Arc::new(move |config| keys.session(config)));
    // An executor that is killed is missed after this time. The default is three minutes.
    config.executor_timeout_seconds = 10;
    config.expire_dead_executor_interval_seconds = 1;

    let cluster = BallistaCluster::new_from_config(&config).await?;
    let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config)).await?;
    writeln!(std::io::stdout(), "{port}")?;
    start_grpc_service_with_listener(listener, scheduler).await?;
    Ok(())
}

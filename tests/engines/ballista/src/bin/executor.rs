//! An executor that reads sealed files: `executor FOLDER KEYS SCHEDULER PORT PORT WORK LOG WAIT`. `SCHEDULER` is the
//! port of the scheduler, and the other two ports are the executor's own. `WORK` is the folder for what it exchanges with
//! others. Before each request to its store, it writes the object's name to `LOG`, and waits for `WAIT` milliseconds.

use std::env::args;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use datafusion::object_store::local::LocalFileSystem;
use engines_ballista::{Keys, PinnedEngine, watched};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = args().skip(1).collect();
    let arguments: [String; 8] =
        arguments.try_into().map_err(|_| "usage: executor FOLDER KEYS SCHEDULER PORT PORT WORK LOG WAIT")?;
    let [folder, keys, scheduler, port, grpc_port, work, log, wait] = arguments;
    let store =
        watched(LocalFileSystem::new_with_prefix(folder)?, Path::new(&log), Duration::from_millis(wait.parse()?))?;
    let keys = Keys::new(keys, store, &work);

    start_executor_process(Arc::new(ExecutorProcessConfig {
        bind_host: "127.0.0.1".to_owned(),
        external_host: Some("127.0.0.1".to_owned()),
        port: port.parse()?,
        grpc_port: grpc_port.parse()?,
        scheduler_host: "127.0.0.1".to_owned(),
        scheduler_port: scheduler.parse()?,
        scheduler_connect_timeout_seconds: 30,
        vcores: 1,
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(work),
        override_config_producer: Some(Arc::new(Keys::config)),
        override_execution_engine: Some(Arc::new(PinnedEngine::new(keys.clone()))),
        override_runtime_producer: Some(Arc::new(move |config| keys.runtime(config))),
        ..ExecutorProcessConfig::default()
    }))
    .await?;
    Ok(())
}

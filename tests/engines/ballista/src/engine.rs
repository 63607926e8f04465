//! Executors read each file in the version that the scheduler has listed.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use engines::{LAKE, PinReads};

use crate::Keys;

/// The engine of executors: `override_execution_engine`. A plan that comes from a scheduler has lost what [`PinReads`]
/// did there.
pub struct PinnedEngine {
    keys: Arc<Keys>,
    engine: DefaultExecutionEngine,
}

impl PinnedEngine {
    /// For the stores of `keys`.
    #[must_use]
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys, engine: DefaultExecutionEngine::new() }
    }
}

impl ExecutionEngine for PinnedEngine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        partitions: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let runtime = self.keys.runtime(config)?;
        let pin = PinReads::new(ObjectStoreUrl::parse(LAKE)?, &runtime)?;
        self.engine.create_query_stage_exec(job_id, stage_id, task_id, partitions, pin.pin(plan)?, work_dir, config)
    }
}

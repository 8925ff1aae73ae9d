//! What operators see: logs, metrics, health.
//!
//! - [`logs`]: text or JSON on standard error, filtered by `RUST_LOG`
//! - [`metrics`]: the names, labels and rendering for Prometheus
//! - [`labels`]: labels out of small fixed sets, whatever peers send
//! - [`health`]: what must work before this node is ready
//! - [`process`]: processor, memory and open files of this process

pub mod health;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod process;

pub use health::Health;
pub use metrics::Metrics;
